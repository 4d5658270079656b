"""What happened to every request, and what the limits were: the figures of a run."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from meltguard.core.policy import Level
from meltguard.core.units import Gpus, Seconds, Share, TierName, Units, UnitsPerSecond

TURN: Final = 0.05
"""A limit has moved once it has gone this share of what the service's own GPUs do."""

WITHIN: Final = Seconds(60.0)
"""A move the other way within this time is a change of direction: hunting, not following."""


@dataclass(slots=True)
class TierSums:
    """One tier: requests, image units, and how long the admitted waited."""

    offered: int = 0
    admitted: int = 0
    refused: int = 0
    done: int = 0
    offered_units: float = 0.0
    done_units: float = 0.0
    waits: list[tuple[Seconds, Seconds]] = field(default_factory=list)  # of the admitted: when it came, its wait
    turned_away: list[Seconds] = field(default_factory=list)  # when the refused came


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The service at one tick."""

    at: Seconds
    gpus: Gpus  # of the ready pods
    busy: float  # GPU-seconds that the ready pods worked since the last tick
    span: Seconds  # since the last tick
    offered: dict[TierName, Units]  # since the last tick
    rates: dict[TierName, UnitsPerSecond]  # in force; a tier that is not there has no limit
    level: Level
    capacity: UnitsPerSecond | None  # as the law believes
    trim: float
    hottest: float  # degrees Celsius


def quantile(values: Iterable[float], share: Share) -> float:
    """The smallest of the values that at least this share does not exceed; 0 where there is none.

    >>> quantile([3.0, 1.0, 2.0, 4.0], Share(0.5))
    2.0
    """
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0.0


@dataclass(slots=True)
class Ledger:
    """All of it."""

    tiers: dict[TierName, TierSums]
    samples: list[Sample] = field(default_factory=list)
    waiting: int = 0  # at the end

    def busy(self, when: Callable[[Sample], bool]) -> Share:
        """The busy share of the ready pods' GPUs at the ticks that are asked for."""
        inside = [one for one in self.samples if when(one)]
        there = sum(one.gpus * one.span for one in inside)
        return Share(sum(one.busy for one in inside) / there if there else 0.0)


def reversals(
    samples: Sequence[Sample], tier: TierName, least: UnitsPerSecond, within: Seconds, unlimited: UnitsPerSecond
) -> int:
    """How often a tier's limit changed direction within `within` seconds of the change of direction before.

    A change counts once the limit has gone `least` back from its farthest point, so that the many small steps of one
    fall are one; it happened when the limit left that point. No limit counts as a limit of `unlimited`.
    """
    turns, rising, farthest, left_at = 0, True, unlimited, Seconds(0.0)
    turned_at: Seconds | None = None
    for one in samples:
        value = min(unlimited, one.rates.get(tier, unlimited))
        gone = value - farthest if rising else farthest - value
        if gone >= 0:
            farthest, left_at = value, one.at
        elif -gone >= least:
            turns += turned_at is not None and left_at - turned_at < within
            rising, farthest, turned_at, left_at = not rising, value, left_at, one.at
    return turns
