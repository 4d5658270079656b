"""What the level and people ask of a tier, before the law gives it a rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from meltguard.core.level import LevelNow
from meltguard.core.limits import Fixed
from meltguard.core.policy import Level, Override, Policy, Tier, TierState
from meltguard.core.units import Instant, UnitsPerSecond
from meltguard.core.wording import when

SHUT: Final = Fixed(rate=UnitsPerSecond(0.0))
FREE: Final = Fixed(rate=None)


def active_overrides(policy: Policy, now: Instant) -> tuple[Override, ...]:
    """A person's words that still hold."""
    return tuple(override for override in policy.overrides if override.until > now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What is asked of one tier."""

    state: TierState
    fixed: Fixed | None = None  # the rate, where the law has no say in it
    cause: str = ""  # of the state, where it is not the law's own
    lifts_when: str = ""
    until: Instant | None = None  # it ends then, if not before


def measure_for(tier: Tier, level: LevelNow, overrides: Sequence[Override]) -> Measure:
    """A person's word about the tier first, then the level's: that of the law, or a person's."""
    own = [override for override in overrides if override.tier == tier.name]
    state = next((override for override in own if override.state is not None), None)
    limit = next((override for override in own if override.limit is not None), None)
    if state is not None and state.state is TierState.SUSPEND:
        return _of_person(state, TierState.SUSPEND, SHUT)
    if limit is not None:
        asked = state_at(tier, level.level)[0] if state is None or state.state is None else state.state
        return _of_person(limit, _with_a_rate(asked), Fixed(rate=limit.limit))
    if state is not None and state.state is not None:
        return _of_state(state, state.state, level)
    return _of_level(tier, level)


def _with_a_rate(state: TierState) -> TierState:
    """A rate needs at least Delay; and a tier that may have one is not suspended."""
    return {TierState.OPEN: TierState.DELAY, TierState.SUSPEND: TierState.REJECT}.get(state, state)


def _of_state(override: Override, state: TierState, level: LevelNow) -> Measure:
    """A state without a rate: Open has none; Delay and Reject say what becomes of those above the law's rate."""
    if state is TierState.OPEN:
        return Measure(state=state, fixed=FREE)
    if level.opens:
        return Measure(state=TierState.OPEN, fixed=FREE)
    return Measure(state=state, cause=f"{override.said} asks for {state}")


def _of_level(tier: Tier, level: LevelNow) -> Measure:
    state, at = state_at(tier, level.level)
    asks = f"{level.named} asks for {state} on tier {tier.name}"
    if state is TierState.SUSPEND:
        lifts = level.falls_below(at)
        return Measure(state=state, fixed=SHUT, cause=asks, lifts_when=lifts, until=level.until)
    if level.opens:
        return Measure(state=TierState.OPEN, fixed=FREE)
    return Measure(state=state, cause=asks if level.forced is not None and state is not TierState.OPEN else "")


def _of_person(override: Override, state: TierState, fixed: Fixed) -> Measure:
    lifts = f"the override ends at {when(override.until)}"
    return Measure(state=state, fixed=fixed, cause=override.said, lifts_when=lifts, until=override.until)


def state_at(tier: Tier, level: Level) -> tuple[TierState, Level]:
    """The state and the level that asks for it; a level that names none keeps the milder one's measure."""
    named = [(at, state) for at, state in tier.on_level.items() if at <= level]
    at, state = max(named, key=lambda pair: pair[0], default=(Level.NORMAL, TierState.OPEN))
    return state, at
