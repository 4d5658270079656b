"""A token bucket in image units. Time is an argument, so it needs no timer."""

from dataclasses import dataclass

from meltguard.core.units import Seconds, Units, UnitsPerSecond

NEVER = Seconds(float("inf"))
ROUNDING = 1e-9  # units; sums of floats differ by less


@dataclass(slots=True)
class Bucket:
    """Fills at `rate` up to `burst`.

    A request larger than the burst may take a full bucket and leave it in debt: it would otherwise never be admitted.
    In any time t no more than rate * t + max(burst, largest request) is admitted.
    """

    rate: UnitsPerSecond
    burst: Units
    level: Units  # may be negative: debt
    at: Seconds  # when `level` held

    @classmethod
    def full(cls, rate: UnitsPerSecond, burst: Units, at: Seconds) -> "Bucket":
        """A bucket that nobody has drawn from."""
        return cls(rate, burst, burst, at)

    def change(self, rate: UnitsPerSecond, burst: Units, at: Seconds) -> None:
        """Fill differently from now on. What was drawn stays drawn: a new limit is no new allowance."""
        self._settle(at)
        self.rate, self.burst, self.level = rate, burst, Units(min(self.level, burst))

    def wait(self, units: Units, at: Seconds, behind: Units = Units(0.0)) -> Seconds:  # noqa: B008 - a NewType of a constant
        """Seconds until a request of this size may pass, after others of `behind` units; 0 when now.

        >>> Bucket(rate=UnitsPerSecond(2.0), burst=Units(1.0), level=Units(0.0), at=Seconds(0.0)).wait(1.0, 0.0)
        0.5
        """
        self._settle(at)
        missing = behind + min(units, self.burst) - self.level
        if missing <= ROUNDING:
            return Seconds(0.0)
        return Seconds(missing / self.rate) if self.rate > 0 else NEVER

    def holds(self, units: Units, at: Seconds) -> bool:
        """Whether a request of this size may pass now: `wait` would be 0."""
        if at > self.at:
            level = self.level + (at - self.at) * self.rate
            self.level, self.at = Units(min(level, self.burst)), at
        return min(units, self.burst) - self.level <= ROUNDING

    def room(self, at: Seconds) -> Units:
        """Image units that may pass at this moment; 0 in debt."""
        self._settle(at)
        return Units(max(0.0, self.level))

    def take(self, units: Units, at: Seconds) -> None:
        """Draw; the caller has asked `wait` or `holds` first."""
        if at > self.at:
            self._settle(at)
        self.level = Units(self.level - units)

    def _settle(self, at: Seconds) -> None:
        if at > self.at:
            self.level = Units(min(self.burst, self.level + (at - self.at) * self.rate))
            self.at = at
