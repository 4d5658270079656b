"""Updates wait while the service is pressed: only what was free is held, and it is resumed exactly as it was."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.policy import Level, Mode, Policy
from meltguard.core.rollout import rollouts
from meltguard.core.rollout_state import Rollouts, RolloutState, RolloutWrite
from meltguard.core.seen import RolloutMark, RolloutView, Snapshot
from meltguard.core.units import Instant
from support.core_values import a_policy, a_snapshot, at_level

NOW = Instant(1000.0)
POLICY = replace(a_policy(), hold_at=Level.OVERLOADED)
OURS = RolloutMark(policy=POLICY.key, policy_uid=POLICY.uid, since=Instant(900.0))
THEIRS = RolloutMark(policy="serving/other", policy_uid="another", since=Instant(900.0))


def seen(*, paused: bool, mark: RolloutMark | None = None) -> Snapshot:
    return replace(a_snapshot({}), rollout=RolloutView(paused=paused, mark=mark))


def at(level: Level, snapshot: Snapshot, policy: Policy = POLICY) -> Rollouts:
    found = rollouts(policy, at_level(level, policy), snapshot, NOW)
    assert found is not None
    return found


def test_a_policy_that_says_nothing_holds_nothing() -> None:
    assert rollouts(a_policy(), at_level(Level.CRITICAL), seen(paused=False), NOW) is None


def test_updates_are_held_from_the_level_on_with_cause_and_lift_condition() -> None:
    held = at(Level.OVERLOADED, seen(paused=False))
    assert (held.state, held.write, held.since) == (RolloutState.HELD, RolloutWrite.HOLD, NOW)
    assert held.cause == "level Overloaded (pressure 1.20) holds updates of the service (rollouts.holdAt Overloaded)"
    assert held.lifts_when == "the level falls to Elevated: pressure below 0.84 for 60 s"
    assert at(Level.ELEVATED, seen(paused=False)).write is None


def test_what_we_hold_stays_held_since_then_and_is_written_once() -> None:
    held = at(Level.CRITICAL, seen(paused=True, mark=OURS))
    assert (held.state, held.write, held.since) == (RolloutState.HELD, None, OURS.since)


def test_it_goes_on_when_the_level_has_fallen() -> None:
    assert at(Level.ELEVATED, seen(paused=True, mark=OURS)).write is RolloutWrite.RESUME


@pytest.mark.parametrize("level", [Level.NORMAL, Level.CRITICAL])
def test_what_a_person_paused_is_theirs(level: Level) -> None:
    assert at(level, seen(paused=True)).write is None


def test_a_person_who_resumes_what_we_hold_is_obeyed_until_the_level_falls() -> None:
    resumed = seen(paused=False, mark=OURS)
    alone = at(Level.CRITICAL, resumed)
    assert (alone.state, alone.write) == (RolloutState.LEFT_ALONE, None)
    assert "someone resumed it" in alone.cause
    assert at(Level.NORMAL, resumed).write is RolloutWrite.FORGET


def test_another_policy_holds_it() -> None:
    alone = at(Level.CRITICAL, seen(paused=True, mark=THEIRS))
    assert (alone.state, alone.write) == (RolloutState.LEFT_ALONE, None)
    assert "serving/other" in alone.cause


def test_shadow_writes_no_hold_and_gives_back_what_it_finds() -> None:
    shadow = replace(POLICY, mode=Mode.SHADOW)
    told = at(Level.CRITICAL, seen(paused=False), shadow)
    assert (told.state, told.write) == (RolloutState.FREE, None)
    assert "mode Shadow writes nothing" in told.cause
    assert at(Level.CRITICAL, seen(paused=True, mark=OURS), shadow).write is RolloutWrite.RESUME


def test_paused_starts_nothing_and_keeps_what_holds() -> None:
    paused = replace(POLICY, mode=Mode.PAUSED)
    assert at(Level.CRITICAL, seen(paused=False), paused).write is None
    kept = at(Level.NORMAL, seen(paused=True, mark=OURS), paused)
    assert (kept.state, kept.write) == (RolloutState.HELD, None)


def test_a_workload_that_cannot_be_read_is_unknown_and_not_written() -> None:
    unknown = at(Level.CRITICAL, replace(a_snapshot({}), rollout_problem="there is no Deployment a/b"))
    assert (unknown.state, unknown.write) == (RolloutState.UNKNOWN, None)
    assert unknown.cause == "there is no Deployment a/b"


def after(view: RolloutView, write: RolloutWrite | None) -> RolloutView:
    """What a write makes of a workload."""
    if write is None:
        return view
    if write is RolloutWrite.FORGET:
        return RolloutView(paused=view.paused, mark=None)
    held = write is RolloutWrite.HOLD
    return RolloutView(paused=held, mark=OURS if held else None)


@given(
    passes=st.lists(st.tuples(st.sampled_from(Level), st.sampled_from(Mode), st.booleans()), max_size=12),
    found_paused=st.booleans(),
)
def test_whatever_happens_what_was_found_is_there_again(
    *, passes: list[tuple[Level, Mode, bool]], found_paused: bool
) -> None:
    """Law: after any passes, some of whose writes got lost, a calm pass in Enforce leaves it exactly as it was."""
    view = RolloutView(paused=found_paused, mark=None)
    for level, mode, lost in passes:
        decided = at(level, replace(a_snapshot({}), rollout=view), replace(POLICY, mode=mode))
        view = view if lost else after(view, decided.write)
    view = after(view, at(Level.NORMAL, replace(a_snapshot({}), rollout=view)).write)
    assert view == RolloutView(paused=found_paused, mark=None)
