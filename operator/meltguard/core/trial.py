"""Whether a new revision of the image server is cheaper: a sequential test that may be looked at after every sample.

Samples are paired: the log of what an image unit cost the new revision in GPU-seconds, less that of the old revision in
the same time. The mean of n pairs lies within the bounds below for all n at once, but for a share ALPHA of all trials:
the asymptotic confidence sequence of Waudby-Smith et al. (2021, "Time-uniform central limit theory"), theorem 2.2.
"""

import math
from dataclasses import dataclass
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

MOST_KEPT: Final = 0.9
"""Of a pair's straying in the next: what keeps more is no noise but a drift, and MOST ends the trial."""


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
    last: float = 0.0  # the last pair
    swings: float = 0.0  # sum of squares of the steps from each pair to the next

    def with_pair(self, new: float, old: float) -> "Tally":
        """One more pair: GPU-seconds an image unit, of the new revision and of the old."""
        value = math.log(new) - math.log(old)
        count = self.count + 1
        mean = self.mean + (value - self.mean) / count
        return Tally(
            count=count,
            mean=mean,
            spread=self.spread + (value - self.mean) * (value - mean),
            last=value,
            swings=self.swings + ((value - self.last) ** 2 if self.count else 0.0),
        )

    @property
    def kept(self) -> float:
        """How much of a pair's straying the next one keeps (von Neumann's ratio), from 0 to MOST_KEPT.

        Pods warm up and requests come in runs: pairs that follow one another are alike, and say less than their number.
        """
        if self.spread <= 0.0:
            return 0.0
        found = 1.0 - self.swings / (2.0 * self.spread)
        found += (1.0 + 3.0 * found) / self.count  # in few pairs less is seen than there is (Kendall 1954)
        return min(MOST_KEPT, max(0.0, found))

    @property
    def half_width(self) -> float:
        """How far the true mean may lie from this one; infinite before FEWEST pairs."""
        if self.count < FEWEST:
            return math.inf
        rho = _rho()
        n = self.count
        inflated = n * rho * rho + 1.0
        bound = math.sqrt(2.0 * inflated / (n * n * rho * rho) * math.log(math.sqrt(inflated) / ALPHA))
        longer = (1.0 + self.kept) / (1.0 - self.kept)  # the variance of a mean of such pairs, against independent ones
        return math.sqrt(longer * self.spread / (n - 1)) * bound

    @property
    def change(self) -> tuple[float, float, float]:
        """Cost of the new revision against the old, less one: least, mean and most; 0.1 is a tenth dearer."""
        width = self.half_width
        least, most = (math.expm1(self.mean - width), math.expm1(min(self.mean + width, 700.0)))
        return (least, math.expm1(self.mean), most)


NO_PAIRS: Final = Tally()


def _rho() -> float:
    """The tuning of the bounds: theirs is a closed form, equation (9), for the narrowest at TUNED_TO."""
    log = -2.0 * math.log(ALPHA)
    return math.sqrt((log + math.log(log + 1.0)) / TUNED_TO)


def verdict(tally: Tally, by: float) -> Verdict:
    """What is certain: cheaper or dearer by more than the share `by`, or the difference lies within it.

    >>> verdict(Tally(count=100, mean=-0.25, spread=0.4, swings=0.8), 0.05)
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
