"""Pressure to level: up at once after two samples, down one step at a time after the dwell time."""

from dataclasses import dataclass
from typing import Final

from meltguard.core.policy import Level
from meltguard.core.units import Instant, Pressure, Seconds

ENTER: Final = {Level.ELEVATED: 1.0, Level.OVERLOADED: 1.2, Level.CRITICAL: 1.5}
"""The pressure at which a level begins."""

LEAVE: Final = 0.7
"""A level may end below this share of the pressure at which it begins: 0.70, 0.84, 1.05.

Shares, not 0.7 for all: after nodes have arrived a service may run well at 0.9 of its new capacity, and a tier that
Critical suspended must not stay away until the surge is over.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelState:
    """A level and what it takes to leave it."""

    level: Level
    since: Instant
    risen: Level  # what the last sample alone asked for
    calm_since: Instant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressing:
    """The highest pressure, and the highest without offered demand; None: no such signal is known.

    That more is asked for than the GPUs can do is what limits are for, and lasts as long as the surge. Critical means
    that limits do not suffice: waits or heat say so. Else a tier that Critical suspends would be away for the whole
    surge, while GPUs stand idle.
    """

    most: Pressure | None
    acute: Pressure | None

    def on(self, level: Level) -> Pressure | None:
        """The pressure that this level hangs on."""
        return self.acute if level is Level.CRITICAL else self.most


def asked_by(pressing: Pressing) -> Level:
    """The level that one sample alone asks for."""
    asked = (level for level, at in ENTER.items() if (pressure := pressing.on(level)) is not None and pressure >= at)
    return max(asked, default=Level.NORMAL)


def next_level(state: LevelState, pressing: Pressing, dwell: Seconds, now: Instant) -> LevelState:
    """The level after one more sample; an unknown pressure changes nothing and starts the dwell anew."""
    pressure = pressing.on(state.level)
    if pressing.most is None or pressure is None:
        return LevelState(level=state.level, since=state.since, risen=state.level, calm_since=None)
    asked = asked_by(pressing)
    confirmed = min(asked, state.risen)
    if confirmed > state.level:
        return LevelState(level=confirmed, since=now, risen=asked, calm_since=None)
    if state.level is Level.NORMAL or pressure >= LEAVE * ENTER[state.level]:
        return LevelState(level=state.level, since=state.since, risen=asked, calm_since=None)
    calm_since = now if state.calm_since is None else state.calm_since
    if now - calm_since < dwell:
        return LevelState(level=state.level, since=state.since, risen=asked, calm_since=calm_since)
    return LevelState(level=Level(state.level - 1), since=now, risen=asked, calm_since=now)
