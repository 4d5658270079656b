from meltguard.api.conditions import ConditionStatus, with_conditions
from support.statuses import a_condition

EARLIER, NOW = "2026-11-23T10:00:00Z", "2026-11-23T11:00:00Z"


def test_a_condition_that_still_holds_keeps_its_time() -> None:
    before = [a_condition(at=EARLIER)]
    told = a_condition(at=NOW).model_copy(update={"reason": "StillWell", "observed_generation": 2})
    [kept] = with_conditions(before, [told])
    assert kept.last_transition_time == EARLIER
    assert kept.reason == "StillWell"
    assert kept.observed_generation == 2


def test_a_condition_that_turns_gets_the_time_of_now() -> None:
    before = [a_condition(at=EARLIER)]
    [turned] = with_conditions(before, [a_condition(status=ConditionStatus.FALSE, at=NOW)])
    assert turned.last_transition_time == NOW


def test_a_new_condition_comes_and_an_old_one_goes() -> None:
    after = with_conditions([a_condition("Stalled", at=EARLIER)], [a_condition("Ready", at=NOW)])
    assert [(one.type, one.last_transition_time) for one in after] == [("Ready", NOW)]
