"""Whether a new revision of the image server is cheaper: a sequential test that may be looked at after every sample.

Samples are paired: the log of what an image unit cost the new revision in GPU-seconds, less that of the old revision in
the same time. The mean of n pairs lies within the bounds below for all n at once, but for a share ALPHA of all trials:
the asymptotic confidence sequence of Waudby-Smith et al. (2021, "Time-uniform central limit theory"), theorem 2.2.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

ALPHA: Final = 0.01
"""Trials that may be judged wrongly, however often they are looked at."""

FEWEST: Final = 12
"""Pairs before anything is said: the bounds hold for means that are near normal."""

MOST: Final = 600
"""Pairs after which what is not told apart counts as equal."""

TUNED_TO: Final = 60
"""Pairs for which the bounds are narrowest."""


class Verdict(StrEnum):
    """What a trial says so far."""

    OPEN = "Open"
    CHEAPER = "Cheaper"
    DEARER = "Dearer"
    EQUAL = "Equal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The pairs so far: their number, mean and sum of squared deviations (Welford)."""

    count: int = 0
    mean: float = 0.0
    spread: float = 0.0

    def with_pair(self, new: float, old: float) -> "Tally":
        """One more pair: GPU-seconds an image unit, of the new revision and of the old."""
        value = math.log(new) - math.log(old)
        count = self.count + 1
        mean = self.mean + (value - self.mean) / count
        return Tally(count=count, mean=mean, spread=self.spread + (value - self.mean) * (value - mean))

    @property
    def half_width(self) -> float:
        """How far the true mean may lie from this one; infinite before FEWEST pairs."""
        if self.count < FEWEST:
            return math.inf
        rho = _rho()
        n = self.count
        inflated = n * rho * rho + 1.0
        bound = math.sqrt(2.0 * inflated / (n * n * rho * rho) * math.log(math.sqrt(inflated) / ALPHA))
        return math.sqrt(self.spread / (n - 1)) * bound

    @property
    def change(self) -> tuple[float, float, float]:
        """Cost of the new revision against the old, less one: least, mean and most; 0.1 is a tenth dearer."""
        width = self.half_width
        least, most = (math.expm1(self.mean - width), math.expm1(min(self.mean + width, 700.0)))
        return (least, math.expm1(self.mean), most)


def _rho() -> float:
    """The tuning of the bounds: theirs is a closed form, equation (9), for the narrowest at TUNED_TO."""
    log = -2.0 * math.log(ALPHA)
    return math.sqrt((log + math.log(log + 1.0)) / TUNED_TO)


def verdict(tally: Tally, by: float) -> Verdict:
    """What is certain: cheaper or dearer by more than the share `by`, or the difference lies within it.

    >>> verdict(Tally(count=100, mean=-0.25, spread=0.4), 0.05)
    <Verdict.CHEAPER: 'Cheaper'>
    """
    least, _, most = tally.change
    if most < -by:
        return Verdict.CHEAPER
    if least > by:
        return Verdict.DEARER
    if (least >= -by and most <= by) or tally.count >= MOST:
        return Verdict.EQUAL
    return Verdict.OPEN


SAMPLE: Final = 4.0
"""Image units that one sample is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one pod has spent since its agent began."""

    busy: float  # GPU-seconds
    done: float  # image units


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The samples of a trial as they come in: what each pod had spent when it last gave one."""

    tally: Tally = Tally()
    last: tuple[tuple[str, Spent], ...] = ()  # by agent instance
    old: Spent = Spent(busy=0.0, done=0.0)  # of the old revision, not yet paired

    def after(self, new: Iterable[tuple[str, Spent]], old: Iterable[tuple[str, Spent]]) -> "Comparison":
        """With what the pods of both revisions have spent by now; at most one pair a new pod."""
        last, kept = dict(self.last), dict[str, Spent]()
        old_sum = self.old
        for name, now in old:
            before = last.get(name)
            kept[name] = now
            if before is not None:
                old_sum = _sum(old_sum, _less(now, before))
        tally = self.tally
        for name, now in new:
            before = last.get(name)
            spent = _less(now, before) if before is not None else Spent(busy=0.0, done=0.0)
            ripe = spent.done >= SAMPLE and spent.busy > 0 and old_sum.done >= SAMPLE and old_sum.busy > 0
            kept[name] = now if ripe or before is None else before
            if ripe:
                tally = tally.with_pair(spent.busy / spent.done, old_sum.busy / old_sum.done)
                old_sum = Spent(busy=0.0, done=0.0)
        return replace(self, tally=tally, last=tuple(kept.items()), old=old_sum)


def _less(now: Spent, before: Spent) -> Spent:
    return Spent(busy=max(0.0, now.busy - before.busy), done=max(0.0, now.done - before.done))


def _sum(one: Spent, other: Spent) -> Spent:
    return Spent(busy=one.busy + other.busy, done=one.done + other.done)
