"""What will be asked for once a node that is claimed now serves: the demand's own trend, and not far along it.

Only how many GPUs are borrowed or bought follows it, where the policy asks for it. Levels, limits and what goes home
follow what is there.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from meltguard.core.averages import smoothed
from meltguard.core.units import Instant, Seconds, UnitsPerSecond

GAINS: Final = (0.2, 0.4)
"""Of the way to what the demand does now, per TICK: a rise is believed in a quarter of a minute, an ebb sooner."""

PAUSE: Final = Seconds(10.0)
"""What changed over a longer gap between two looks is no trend: nobody knows how it came."""

SETTLES: Final = Seconds(180.0)
"""For so long after pods fell silent, answered again or came there is no trend: the demand that is heard of changes
with who tells of it, and its average follows slowly where that is within chance (DEMAND_DOWN in core/demand.py)."""

MOST: Final = 0.5
"""A trend alone asks for at most so much more than the demand itself."""


class Forecast(StrEnum):
    """What the number of missing GPUs reckons with."""

    OFF = "Off"  # the demand that is there
    TREND = "Trend"  # what it grows to until a node serves that is claimed now


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """Where the demand is going."""

    demand: UnitsPerSecond  # at the last look, as far as no single agent can move it
    at: Instant
    tellers: int  # pods that told of it
    steady: Instant  # their number is the same since then
    rise: float = 0.0  # image units a second, each second

    def after(self, demand: UnitsPerSecond, tellers: int, now: Instant) -> "Trend":
        """With one more look."""
        span = Seconds(now - self.at)
        if tellers != self.tellers or not 0.0 < span <= PAUSE:
            return trend_after(None, demand, tellers, now)
        look = replace(self, demand=demand, at=now)
        if now - self.steady < SETTLES:
            return look
        return replace(look, rise=smoothed(self.rise, (demand - self.demand) / span, GAINS, span))

    def growth(self, lead: Seconds | None) -> UnitsPerSecond:
        """What the demand gains within `lead` if it goes on so, at most MOST of today's; 0 where it does not rise.

        >>> begun = trend_after(None, UnitsPerSecond(10.0), 2, Instant(0.0))
        >>> replace(begun, rise=0.1).growth(Seconds(30.0))
        3.0
        """
        return UnitsPerSecond(min(max(0.0, self.rise) * (lead or 0.0), MOST * self.demand))


def trend_after(before: Trend | None, demand: UnitsPerSecond, tellers: int, now: Instant) -> Trend:
    """With this look; a first one knows of no trend."""
    if before is None:
        return Trend(demand=demand, at=now, tellers=tellers, steady=now)
    return before.after(demand, tellers, now)
