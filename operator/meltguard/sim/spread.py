"""Distributions and shapes to draw from: rows as recorded, or the few figures that were fitted to them."""

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from meltguard.core.units import Share


class Spread(Protocol):
    """A distribution, as its inverse."""

    def at(self, share: Share) -> float:
        """The value below which this share lies; a share drawn evenly from 0 to 1 draws a value."""
        ...


@dataclass(frozen=True, slots=True)
class Rows:
    """Recorded values, sorted; each is as likely as any other."""

    values: tuple[float, ...]

    def at(self, share: Share) -> float:
        """One of the rows: nothing between them is made up.

        >>> Rows((1.0, 2.0, 9.0)).at(Share(0.5))
        2.0
        """
        return self.values[min(len(self.values) - 1, int(share * len(self.values)))]


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A distribution known at a few levels, straight between them; the ends are cut off."""

    levels: tuple[float, ...]
    values: tuple[float, ...]

    def at(self, share: Share) -> float:
        """The value at this share, on the line between the two nearest levels.

        >>> Quantiles((0.0, 0.5, 1.0), (0.0, 10.0, 30.0)).at(Share(0.75))
        20.0
        """
        return between(self.levels, self.values, share)


@dataclass(frozen=True, slots=True)
class Envelope:
    """The shape of a surge: time as a share of its length, rate as a share of its peak, straight between points."""

    times: tuple[float, ...]
    rates: tuple[float, ...]

    def at(self, time: Share) -> Share:
        """The rate at a time; before the start and after the end it stays as it is there."""
        return Share(between(self.times, self.rates, time))

    def mean(self) -> Share:
        """The mean rate over the whole length."""
        spans = pairwise(zip(self.times, self.rates, strict=True))
        area = sum((later - sooner) * (low + high) / 2 for (sooner, low), (later, high) in spans)
        return Share(area / (self.times[-1] - self.times[0]))


def between(points: Sequence[float], values: Sequence[float], at: float) -> float:
    """The value at `at` on the straight lines through (point, value); flat outside. `points` ascend."""
    if at <= points[0]:
        return values[0]
    if at >= points[-1]:
        return values[-1]
    right = bisect_right(points, at)
    left = right - 1
    share = (at - points[left]) / (points[right] - points[left])
    return values[left] + share * (values[right] - values[left])


def seeded(seed: int, *purpose: str) -> random.Random:
    """Chance that repeats: the same seed and purpose give the same draws, and no purpose disturbs another's."""
    return random.Random(":".join((str(seed), *purpose)))  # noqa: S311 - a rehearsal's chance, not a secret
