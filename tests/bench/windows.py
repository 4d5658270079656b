"""Whether a limited tier ever got more than its limit: over every window of a run, not over those that fit well."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

BEARABLE: Final = 1.01
"""Of the limit, in any window, beside one burst an agent."""

MOST_SHARE: Final = 1_000.0
PRECISION: Final = 0.0001


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """A request that was let in; `at` on whichever clock the totals are told."""

    at: float
    units: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Image units a second that the tier may have over all agents, from a moment on."""

    since: float
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """What a run showed of a tier with a limit."""

    entered: Sequence[Entered]
    totals: Sequence[Total]
    bursts: float  # image units that all agents' buckets hold together when they are full
    held_back: int  # requests that waited for the limit, or were refused for it

    @property
    def share(self) -> float:
        """The most that any window got, as a share of its limit, once one burst an agent is taken off."""
        return over_limit_share(self.entered, self.totals, self.bursts)

    @property
    def used(self) -> float:
        """Of all that the limit let in from the first request to the last, what was taken."""
        ordered = sorted(self.entered, key=lambda one: one.at)
        first, *_, last = _allowed(ordered, self.totals) or (0.0, 0.0)
        return sum(one.units for one in ordered) / (last - first) if last > first else 0.0


def over_limit_share(entered: Sequence[Entered], totals: Sequence[Total], bursts: float) -> float:
    """The least share c such that in each window no more came in than c of its limit, and the bursts; inf for none.

    >>> second = [Entered(at=0.1 * number, units=1.0) for number in range(11)]
    >>> over_limit_share(second, [Total(since=0.0, rate=5.0)], bursts=1.0)
    2.0
    """
    ordered = sorted(entered, key=lambda one: one.at)
    allowed = _allowed(ordered, totals)
    if _most_beyond(ordered, allowed, MOST_SHARE) > bursts:
        return float("inf")
    low, high = 0.0, MOST_SHARE
    while high - low > PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if _most_beyond(ordered, allowed, middle) > bursts else (low, middle)
    return round(high, 3)


def _most_beyond(ordered: Sequence[Entered], allowed: Sequence[float], share: float) -> float:
    """Units that the worst window got beyond `share` of its limit; a window begins and ends with a request."""
    most = beyond = 0.0
    before = 0.0  # of the limit, up to the request before
    for one, limit in zip(ordered, allowed, strict=True):
        beyond = max(0.0, beyond - share * (limit - before)) + one.units
        most, before = max(most, beyond), limit
    return most


def _allowed(ordered: Sequence[Entered], totals: Sequence[Total]) -> list[float]:
    """What the limit lets in from the first total on to each request; nothing before it was told."""
    found: list[float] = []
    steps = [*totals, Total(since=float("inf"), rate=0.0)]
    spans = list(pairwise(steps))
    place, sum_before = 0, 0.0
    for one in ordered:
        while place < len(spans) - 1 and spans[place][1].since <= one.at:
            sum_before += spans[place][0].rate * (spans[place][1].since - spans[place][0].since)
            place += 1
        now = spans[place][0]
        found.append(sum_before + now.rate * max(0.0, one.at - now.since))
    return found
