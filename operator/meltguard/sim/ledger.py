"""What happened to every request, and what the limits were: the figures of a run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from meltguard.core.policy import Level
from meltguard.core.units import Gpus, Seconds, Share, TierName, Units, UnitsPerSecond


@dataclass(slots=True)
class TierSums:
    """One tier: requests, image units, and how long the admitted waited."""

    offered: int = 0
    admitted: int = 0
    refused: int = 0
    done: int = 0
    offered_units: float = 0.0
    done_units: float = 0.0
    waits: list[tuple[Seconds, Seconds]] = field(default_factory=list)  # (when it came, how long it waited)

    def wait_at(self, share: Share) -> Seconds:
        """The wait that this share of the admitted did not exceed; 0 where none was."""
        waits = sorted(wait for _, wait in self.waits)
        return waits[min(len(waits) - 1, int(share * len(waits)))] if waits else Seconds(0.0)


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


@dataclass(slots=True)
class Ledger:
    """All of it."""

    tiers: dict[TierName, TierSums]
    samples: list[Sample] = field(default_factory=list)
    waiting: int = 0  # at the end

    def busy(self, spans: Iterable[tuple[Seconds, Seconds]]) -> Share:
        """The busy share of the ready pods' GPUs within these spans."""
        inside = [one for one in self.samples if any(start <= one.at < end for start, end in spans)]
        there = sum(one.gpus * one.span for one in inside)
        return Share(sum(one.busy for one in inside) / there if there else 0.0)


def reversals(
    samples: Sequence[Sample], tier: TierName, least: UnitsPerSecond, within: Seconds, unlimited: UnitsPerSecond
) -> int:
    """How often a tier's limit turned back within `within` seconds of moving the other way.

    A move counts once the limit has gone `least` from where it last turned, so that the many small steps of one fall are
    one move; no limit counts as a limit of `unlimited`.
    """
    turns = 0
    direction, extreme, moved_at = 0, None, Seconds(0.0)
    for one in samples:
        value = min(unlimited, one.rates.get(tier, unlimited))
        if extreme is None:
            extreme = value
        gone = value - extreme
        if direction * gone > 0:
            extreme, moved_at = value, one.at
        elif abs(gone) >= least:
            turns += direction != 0 and one.at - moved_at <= within
            direction, extreme, moved_at = (1 if gone > 0 else -1), value, one.at
    return turns
