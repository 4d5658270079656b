"""Pressure to level: up at once after two samples, down one step at a time after the dwell time."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from meltguard.core.policy import Level, Mode, Override, Policy
from meltguard.core.units import Instant, Pressure, Seconds
from meltguard.core.wording import listed, when

ENTER: Final = {Level.ELEVATED: 1.0, Level.OVERLOADED: 1.2, Level.CRITICAL: 1.5}
"""The pressure at which a level begins."""

LEAVE: Final = 0.7
"""A level may end below this share of the pressure at which it begins: 0.70, 0.84, 1.05.

Shares, not 0.7 for all: after nodes have arrived a service may run well at 0.9 of its new capacity, and a tier that
Critical suspended must not stay away until the surge is over.
"""


BLIND: Final = Seconds(600.0)
"""For so long a level does not end while some signal is unknown that might press: then what is known decides alone, as
an agent without a lease does not wait for ever either. Each signal has its own such time: an exporter that was never
there uses up no other's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelState:
    """A level and what it takes to leave it."""

    level: Level
    since: Instant
    risen: Level  # what the last sample alone asked for
    calm_since: Instant | None
    unknown_since: Mapping[str, Instant] = field(default_factory=dict)  # by driving signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressing:
    """The highest pressure, and the highest without offered demand; None: no such signal is known.

    That more is asked for than the GPUs can do is what limits are for, and lasts as long as the surge. Critical means
    that limits do not suffice: waits or heat say so. Else a tier that Critical suspends would be away for the whole
    surge, while GPUs stand idle.
    """

    most: Pressure | None
    acute: Pressure | None
    unknown: tuple[str, ...] = ()  # the driving signals that are not known
    heard: bool = True  # agents answer; without them nobody knows what is asked for

    def on(self, level: Level) -> Pressure | None:
        """The pressure that this level hangs on."""
        return self.acute if level is Level.CRITICAL else self.most


def asked_by(pressing: Pressing) -> Level:
    """The level that one sample alone asks for."""
    asked = (level for level, at in ENTER.items() if (pressure := pressing.on(level)) is not None and pressure >= at)
    return max(asked, default=Level.NORMAL)


def next_level(state: LevelState, pressing: Pressing, dwell: Seconds, now: Instant) -> LevelState:
    """The level after one more sample; an unknown pressure changes nothing and starts the dwell anew.

    Any known signal raises the level; it ends only by what all of them say, for what is unknown may press.
    """
    pressure = pressing.on(state.level)
    state = replace(state, unknown_since=_unknown_since(state, pressing, now))
    if pressing.most is None or pressure is None:
        return replace(state, risen=state.level, calm_since=None)
    asked = asked_by(pressing)
    confirmed = min(asked, state.risen)
    if confirmed > state.level:
        return replace(state, level=confirmed, since=now, risen=asked, calm_since=None)
    presses = state.level is Level.NORMAL or pressure >= LEAVE * ENTER[state.level]
    if presses or not pressing.heard or _hiding(state, now):
        return replace(state, risen=asked, calm_since=None)
    calm_since = now if state.calm_since is None else state.calm_since
    if now - calm_since < dwell:
        return replace(state, risen=asked, calm_since=calm_since)
    return replace(state, level=Level(state.level - 1), since=now, risen=asked, calm_since=now)


def paused_level(state: LevelState, pressing: Pressing, now: Instant) -> LevelState:
    """The same level after one more sample that may not change it."""
    unknown = _unknown_since(state, pressing, now)
    return replace(state, risen=state.level, calm_since=None, unknown_since=unknown)


def _unknown_since(state: LevelState, pressing: Pressing, now: Instant) -> dict[str, Instant]:
    return {name: state.unknown_since.get(name, now) for name in pressing.unknown}


def _hiding(state: LevelState, now: Instant) -> dict[str, Instant]:
    """The signals that may press unseen and so keep a level up, with when each no longer does."""
    ends = {name: Instant(since + BLIND) for name, since in state.unknown_since.items()}
    return {name: end for name, end in ends.items() if now < end}


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelNow:
    """The level in force: the law's, or a person's above it."""

    level: Level
    since: Instant
    law: LevelState
    pressing: Pressing
    hiding: Mapping[str, Instant]  # signals that may press unseen, with when each no longer keeps the level
    forced: Override | None  # who sets it; None: the law
    paused: bool
    dwell: Seconds

    @property
    def named(self) -> str:
        """The level as the subject of a sentence: whose word it is, or how much presses."""
        if self.forced is not None:
            return f"{self.forced.said} sets level {self.level.label}, which"
        pressure = self.pressing.on(self.level)
        return f"level {self.level.label} (pressure {'unknown' if pressure is None else f'{pressure:.2f}'})"

    @property
    def opens(self) -> bool:
        """A person says that all is normal: no tier is limited."""
        return self.forced is not None and self.level is Level.NORMAL

    @property
    def until(self) -> Instant | None:
        """When it ends, where that is known."""
        return None if self.forced is None else self.forced.until

    @property
    def lifts_when(self) -> str:
        """What must come about for a milder level; "" where there is none."""
        if self.forced is not None:
            return self.falls_below(self.level)
        if self.level is Level.NORMAL:
            return ""
        if self.paused:
            return "the policy is resumed"
        milder = Level(self.level - 1).label
        return f"{self.sight}{pressure_to_leave(self.level)} lasts for {self.dwell:.0f} s: {milder} then"

    @property
    def sight(self) -> str:
        """What has to be known before this level can end, as the beginning of a sentence; "" where all is."""
        if not self.pressing.heard:
            return "agents answer again, and "
        if not self.hiding:
            return ""
        verb = "is" if len(self.hiding) == 1 else "are"
        return f"{listed(tuple(self.hiding))} {verb} known again, or it is {when(max(self.hiding.values()))}, and "

    def falls_below(self, level: Level) -> str:
        """What must come about for a level milder than this one."""
        if self.forced is not None:
            return f"the override of the level ends at {when(self.forced.until)}"
        milder = f"the level falls to {Level(max(0, level - 1)).label}"
        if self.paused:
            return f"the policy is resumed, and {milder}"
        return f"{milder}: {self.sight}{pressure_to_leave(level)} for {self.dwell:.0f} s"


def pressure_to_leave(level: Level) -> str:
    """What pressure a level above Normal ends at.

    >>> pressure_to_leave(Level.OVERLOADED)
    'pressure below 0.84'
    """
    aside = " without demand" if level is Level.CRITICAL else ""
    return f"pressure{aside} below {LEAVE * ENTER[level]:.2f}"


def level_now(policy: Policy, law: LevelState, pressing: Pressing, forced: Override | None, now: Instant) -> LevelNow:
    """The level in force; how long it has been is not known here."""
    level = law.level if forced is None or forced.level is None else forced.level
    return LevelNow(
        level=level,
        since=law.since,
        law=law,
        pressing=pressing,
        hiding=_hiding(law, now),
        forced=forced,
        paused=policy.mode is Mode.PAUSED,
        dwell=policy.dwell,
    )
