"""Each step of the ladder is told once, with its cause and what lifts it."""

import inspect
import re
from dataclasses import replace

from meltguard.controller import telling
from meltguard.controller.events import Reason
from meltguard.controller.telling import changes
from meltguard.core.decide import decide
from meltguard.core.decision import Decision, FeatureShare
from meltguard.core.memory import Memory
from meltguard.core.policy import Level, Override, TierState
from meltguard.core.rollout import FREE
from meltguard.core.rollout_state import Rollouts, RolloutState
from meltguard.core.units import Instant, Percent, Seconds, TierName, UnitsPerSecond
from support.core_values import a_policy, a_snapshot

NOW = Instant(1000.0)
CALM = decide(a_policy(), Memory(), a_snapshot({}), NOW)


def told(before: Decision | None, now: Decision) -> dict[Reason, str]:
    return dict(changes(before, now))


def test_nothing_new_is_not_told() -> None:
    assert told(CALM, replace(CALM, at=Instant(1002.0))) == {}
    assert told(None, CALM) == {}


def test_a_level_is_told_with_its_why() -> None:
    risen = replace(CALM, level=Level.ELEVATED, why="Elevated: wait 5.0 s")
    assert told(CALM, risen) == {Reason.LEVEL_CHANGED: "Normal to Elevated: Elevated: wait 5.0 s"}


def test_a_tier_is_told_with_its_numbers_and_what_lifts_it() -> None:
    limit = replace(
        CALM.limits[0],
        state=TierState.REJECT,
        rate=UnitsPerSecond(0.5),
        cause="demand 120/m is more than the GPUs' 60/m; tier free gives way",
        lifts_when="demand falls below capacity, or nodes arrive",
    )
    limited = replace(CALM, limits=(limit,))
    assert told(CALM, limited)[Reason.TIER_LIMITED] == (
        "tier free: Reject at 30/m; demand 120/m is more than the GPUs' 60/m; tier free gives way; "
        "it lifts when demand falls below capacity, or nodes arrive"
    )
    assert told(limited, CALM) == {Reason.TIER_LIFTED: "tier free is open again"}


def test_a_feature_is_told_when_its_share_changes() -> None:
    def having(share: int, cause: str) -> Decision:
        one = FeatureShare(
            name="edit", share=Percent(share), since=NOW, cause=cause, lifts_when="calm" if cause else ""
        )
        return replace(CALM, features=(one,))

    assert told(having(100, ""), having(50, "half")) == {Reason.FEATURE_SLOWED: "half; it lifts when calm"}
    assert told(having(50, "half"), having(50, "half")) == {}
    assert told(having(50, "half"), having(100, "")) == {
        Reason.FEATURE_RESTORED: "feature edit is back at 100% of users"
    }


def test_updates_are_told_when_they_are_held_left_alone_and_go_on() -> None:
    held = replace(CALM, rollouts=Rollouts(state=RolloutState.HELD, cause="pressed", lifts_when="calm"))
    alone = replace(CALM, rollouts=Rollouts(state=RolloutState.LEFT_ALONE, cause="theirs"))
    free = replace(CALM, rollouts=FREE)
    assert told(free, held) == {Reason.ROLLOUT_HELD: "pressed; they go on when calm"}
    assert told(held, free) == {Reason.ROLLOUT_RESUMED: "updates of the service go on"}
    assert told(free, alone) == {Reason.ROLLOUT_LEFT_ALONE: "theirs"}
    assert told(alone, free) == {}


def test_an_override_is_told_when_it_begins_and_ends_by_itself_or_by_hand() -> None:
    one = Override(until=Instant(1060.0), reason="launch day", by="ann", tier=TierName("free"), state=TierState.SUSPEND)
    forced = replace(CALM, overrides=(one,))
    assert told(CALM, forced) == {
        Reason.OVERRIDE_BEGUN: "free: Suspend until 1970-01-01T00:17:40Z; override: launch day (ann)"
    }
    over = replace(CALM, at=Instant(NOW + Seconds(61.0)))
    assert told(forced, over) == {Reason.OVERRIDE_ENDED: "free: Suspend: its time is over; the law decides again"}
    assert "taken away" in told(forced, CALM)[Reason.OVERRIDE_ENDED]
    assert told(None, forced) == {}


def test_a_process_that_has_just_begun_does_not_tell_again_what_the_one_before_it_told() -> None:
    def held(since: Instant) -> Decision:
        limit = replace(CALM.limits[0], state=TierState.DELAY, rate=UnitsPerSecond(0.5), cause="c", since=since)
        feature = FeatureShare(name="edit", share=Percent(50), since=since, cause="c", lifts_when="calm")
        updates = Rollouts(state=RolloutState.HELD, since=since, cause="c", lifts_when="calm")
        return replace(CALM, limits=(limit,), features=(feature,), rollouts=updates)

    assert told(None, held(Instant(NOW - 60.0))) == {}
    begun = {Reason.TIER_LIMITED, Reason.FEATURE_SLOWED, Reason.ROLLOUT_HELD}
    assert told(None, held(NOW)).keys() == begun, "what begins at this very moment is new"


def test_every_change_that_is_told_is_counted_from_zero() -> None:
    used = set(re.findall(r"yield Reason\.(\w+)|^ +Reason\.(\w+),$", inspect.getsource(telling), re.MULTILINE))
    assert {Reason[one or other] for one, other in used} == set(telling.CHANGES)
