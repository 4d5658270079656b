"""Exponential averages whose clock is time, not passes."""

from typing import Final

from meltguard.core.units import Seconds

TICK: Final = Seconds(5.0)
"""Gains are per this much time; other spans take the equivalent share."""


def gain_over(gain: float, span: Seconds) -> float:
    """The share of the way to go in `span`, where `gain` is the share per TICK.

    >>> round(gain_over(0.5, Seconds(10.0)), 3)
    0.75
    """
    return float(1.0 - (1.0 - gain) ** (max(0.0, span) / TICK))


def smoothed(before: float | None, now: float, gains: tuple[float, float], span: Seconds) -> float:
    """An exponential average that climbs with the first gain and falls with the second."""
    if before is None:
        return now
    return before + gain_over(gains[0] if now > before else gains[1], span) * (now - before)
