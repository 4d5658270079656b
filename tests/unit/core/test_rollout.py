"""Updates wait while the service is pressed: only what was free is held, and it is resumed exactly as it was."""

from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.decide import decide
from meltguard.core.level import BLIND
from meltguard.core.memory import Memory
from meltguard.core.policy import Level, Mode, Policy
from meltguard.core.rollout import down_since, rollouts
from meltguard.core.rollout_state import Rollouts, RolloutState, RolloutWrite
from meltguard.core.seen import RolloutMark, RolloutView, Snapshot
from meltguard.core.units import Instant, UnitsPerSecond
from support.core_values import a_policy, a_snapshot, at_level

NOW = Instant(1000.0)
RATE = UnitsPerSecond(1.0)
POLICY = replace(a_policy(), hold_at=Level.OVERLOADED)
OURS = RolloutMark(policy=POLICY.key, policy_uid=POLICY.uid, since=Instant(900.0))
THEIRS = RolloutMark(policy="serving/other", policy_uid="another", since=Instant(900.0))


def seen(*, paused: bool, mark: RolloutMark | None = None) -> Snapshot:
    return replace(a_snapshot({}), rollout=RolloutView(paused=paused, mark=mark))


def at(level: Level, snapshot: Snapshot, policy: Policy = POLICY, down: Instant | None = None) -> Rollouts:
    found = rollouts(policy, at_level(level, policy), snapshot, down, NOW)
    assert found is not None
    return found


def test_a_policy_that_says_nothing_holds_nothing() -> None:
    assert rollouts(a_policy(), at_level(Level.CRITICAL), seen(paused=False), None, NOW) is None


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


LONG_DOWN = Instant(NOW - BLIND)


def test_where_no_pod_serves_for_ten_minutes_an_update_goes_on_and_is_not_held_anew() -> None:
    """It may be what mends the service; whose silence would keep the level, and so the update, for ever."""
    held = at(Level.CRITICAL, seen(paused=True, mark=OURS), down=Instant(LONG_DOWN + 1.0))
    assert (held.state, held.write) == (RolloutState.HELD, None)
    assert held.lifts_when.endswith("; or no pod is Ready until 1970-01-01T00:16:41Z")
    freed = at(Level.CRITICAL, seen(paused=True, mark=OURS), down=LONG_DOWN)
    assert (freed.state, freed.write) == (RolloutState.FREE, RolloutWrite.RESUME)
    assert freed.cause == "no pod was Ready from 1970-01-01T00:06:40Z on: an update may be what mends the service"
    assert at(Level.CRITICAL, seen(paused=False), down=LONG_DOWN).write is None
    assert at(Level.CRITICAL, seen(paused=True), down=LONG_DOWN).write is None, "what a person paused is theirs"


def test_an_update_that_mends_the_service_goes_on_until_every_pod_is_ready() -> None:
    def pods(ready: int, unready: int) -> Snapshot:
        return replace(a_snapshot({}), ready_pods=ready, unready_pods=unready)

    assert down_since(None, pods(0, 4), NOW) == NOW
    assert down_since(Instant(NOW - 30.0), pods(0, 4), NOW) == NOW - 30.0
    assert down_since(Instant(NOW - 30.0), pods(1, 3), NOW) is None
    assert down_since(LONG_DOWN, pods(1, 3), NOW) == LONG_DOWN
    assert down_since(LONG_DOWN, pods(4, 0), NOW) is None


def test_a_crash_of_all_pods_ends_by_the_update_that_waits() -> None:
    """Whole passes: agents are silent, so the level stays; the update goes on, and is held again once all are Ready."""
    memory = Memory(level=Level.CRITICAL, level_since=Instant(1.0), risen=Level.CRITICAL, units_per_gpu=RATE)
    states = list[tuple[RolloutState, RolloutWrite | None]]()
    view = RolloutView(paused=True, mark=OURS)
    for second in range(0, 1400, 10):
        ready = {True: (0, 8), False: (1, 7)}[second < 700] if second < 900 else (8, 0)
        found = replace(a_snapshot({}), rollout=view, loads=(), ready_pods=ready[0], unready_pods=ready[1])
        decided = decide(POLICY, memory, found, Instant(NOW + second))
        memory = decided.memory
        assert decided.rollouts is not None
        view = after(view, decided.rollouts.write)
        states.append((decided.rollouts.state, decided.rollouts.write))
    assert [state for state, _ in groupby(states, key=lambda one: one[0])] == [
        RolloutState.HELD,
        RolloutState.FREE,
        RolloutState.HELD,
    ]
    assert [write for _, write in states if write] == [RolloutWrite.RESUME, RolloutWrite.HOLD]


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
