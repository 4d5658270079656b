"""A token bucket in image units. Time is an argument, so it needs no timer."""

from typing import Final

from meltguard.core.units import Seconds, Units, UnitsPerSecond

NEVER: Final = Seconds(float("inf"))
ROUNDING: Final = 1e-9  # units; sums of floats differ by less
SLOWEST: Final = 1e-12  # units a second; what fills slower, or not at all, is taken to fill so


class Bucket:
    """Fills at `rate` up to `burst`. What is drawn is kept as the moment at which it will be full again.

    A request larger than the burst may take a full bucket and leave it in debt: it would otherwise never be admitted.
    In any time t no more than rate * t + max(burst, largest request) is admitted.
    """

    __slots__ = ("_full_at", "_unit_takes", "burst", "rate")

    def __init__(self, rate: UnitsPerSecond, burst: Units, at: Seconds) -> None:
        self.rate, self.burst = rate, burst
        self._unit_takes = 1.0 / max(rate, SLOWEST)  # seconds until one more has come in
        self._full_at: float = at  # nobody has drawn from it

    def change(self, rate: UnitsPerSecond, burst: Units, at: Seconds) -> None:
        """Fill differently from now on. What was drawn stays drawn: a new limit is no new allowance."""
        level = min(self._level(at), burst)
        self.rate, self.burst = rate, burst
        self._unit_takes = 1.0 / max(rate, SLOWEST)
        self._full_at = at + (burst - level) * self._unit_takes

    def wait(self, units: Units, at: Seconds, behind: Units = Units(0.0)) -> Seconds:  # noqa: B008 - a NewType of a constant
        """Seconds until a request of this size may pass, after others of `behind` units; 0 when now.

        >>> bucket = Bucket(rate=UnitsPerSecond(2.0), burst=Units(1.0), at=Seconds(0.0))
        >>> bucket.take(Units(1.0), Seconds(0.0))
        >>> bucket.wait(Units(1.0), Seconds(0.0))
        0.5
        """
        missing = behind + min(units, self.burst) - self._level(at)
        if missing <= ROUNDING:
            return Seconds(0.0)
        return Seconds(missing / self.rate) if self.rate > 0 else NEVER

    def is_full(self, at: Seconds) -> bool:
        """Whether all of it may pass at this moment."""
        return self._full_at <= at

    def room(self, at: Seconds) -> Units:
        """Image units that may pass at this moment; 0 in debt."""
        return Units(max(0.0, self._level(at)))

    def draw(self, units: Units, at: Seconds) -> bool:
        """Draw, if that may pass now: `wait` would be 0. A full one lets anything pass."""
        if self._full_at <= at:
            self._full_at = at + units * self._unit_takes
            return True
        if self.wait(units, at) > 0:
            return False
        self._full_at += units * self._unit_takes
        return True

    def take(self, units: Units, at: Seconds) -> None:
        """Draw; the caller has asked `wait` first."""
        self._full_at = max(self._full_at, at) + units * self._unit_takes

    def _level(self, at: Seconds) -> float:
        """Image units in it; in debt less than none."""
        return self.burst - max(0.0, self._full_at - at) / self._unit_takes
