"""A trouble is told when it lasts, once, and when it ends."""

from meltguard.api.conditions import Condition, ConditionStatus
from meltguard.clock import parse_rfc3339, rfc3339
from meltguard.controller.events import Reason
from meltguard.controller.troubles import BEGINS, ENDS, LASTING, WELL, TroubleBook
from meltguard.core.units import Instant
from support.statuses import AT, a_condition

BEGAN = parse_rfc3339(AT)
LATER = Instant(BEGAN + LASTING)
ILL = {ConditionStatus.TRUE: ConditionStatus.FALSE, ConditionStatus.FALSE: ConditionStatus.TRUE}


def ill(kind: str, reason: str = "SignalUnknown", since: Instant = BEGAN) -> Condition:
    found = a_condition(kind, ILL[WELL[kind]], rfc3339(since))
    return found.model_copy(update={"reason": reason, "message": f"{kind} is ill: {reason}"})


def well(kind: str) -> Condition:
    return a_condition(kind, WELL[kind])


def test_each_trouble_is_told_when_it_lasts_and_when_it_ends() -> None:
    for kind in WELL:
        book = TroubleBook((), BEGAN)
        assert book.news((ill(kind),), Instant(LATER - 1.0)) == ()
        assert book.news((ill(kind),), LATER) == ((BEGINS[kind], f"{kind} is ill: SignalUnknown"),)
        assert book.news((ill(kind),), Instant(LATER + 60.0)) == ()
        assert book.news((well(kind),), Instant(LATER + 70.0)) == ((ENDS[kind], well(kind).message),)
        assert book.news((well(kind),), Instant(LATER + 80.0)) == ()


def test_what_ends_before_it_lasts_was_no_news() -> None:
    book = TroubleBook((), BEGAN)
    assert book.news((ill("MetricsAvailable"),), BEGAN) == ()
    assert book.news((well("MetricsAvailable"),), LATER) == ()


def test_another_trouble_of_the_same_condition_is_news() -> None:
    book = TroubleBook((), BEGAN)
    book.news((ill("Stalled", "PoolMissing"),), LATER)
    conflict = book.news((ill("Stalled", "ScaleConflict"),), LATER)
    assert conflict == ((Reason.SCALE_CONFLICT, "Stalled is ill: ScaleConflict"),)


def test_a_new_process_does_not_tell_again_what_the_one_before_has_told() -> None:
    assert TroubleBook((ill("Stalled"),), LATER).news((ill("Stalled"),), LATER) == ()
    young = ill("Stalled", since=LATER)
    assert TroubleBook((young,), LATER).news((young,), Instant(LATER + LASTING)) != ()


def test_conditions_that_change_with_every_decision_are_not_told() -> None:
    book = TroubleBook((), BEGAN)
    assert book.news((a_condition("Throttling", ConditionStatus.TRUE),), LATER) == ()
