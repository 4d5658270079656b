"""What the operator decided, read from the statuses that it wrote."""

from meltguard.clock import rfc3339
from meltguard.core.units import Instant
from meltguard.demo.check.decisions import decisions, first_of, last_of
from meltguard.demo.check.fleet import steps
from meltguard.demo.check.nodes import moves
from meltguard.demo.check.policy import told
from support.demo_runs import HOME, RELIEF, START, TOLD_SO, a_good_run, status_write

RUN = a_good_run()
STATUSES = told(RUN.writes, "image-gen")
MADE = decisions(STATUSES, moves(tuple(steps(HOME.fleet, RUN.writes))))


def entry(at: float, text: str, reason: str = "LevelChanged") -> dict[str, str]:
    return {"at": rfc3339(Instant(START + at)), "reason": reason, "text": text}


def test_every_entry_that_a_history_ever_had_is_told_once_though_a_status_keeps_few() -> None:
    assert len(TOLD_SO) > 20  # more than one status holds
    assert len(MADE) == len(TOLD_SO)
    assert {(one.reason, one.text.split(": it relieves")[0]) for one in MADE} == {
        (reason, text) for _, reason, text in TOLD_SO
    }


def test_they_are_told_in_the_order_of_time_with_the_level_of_their_status() -> None:
    assert [one.at for one in MADE] == sorted(one.at for one in MADE)
    first = first_of(MADE, "TierLimited", "tier free")
    assert first is not None
    assert first.level == "Elevated"


def test_of_one_decision_the_order_is_the_operators_own() -> None:
    together = told([status_write(5, {"history": [entry(5, "then"), entry(5, "first")]})], "image-gen")

    assert [one.text for one in decisions(together)] == ["first", "then"]


def test_a_status_that_was_written_late_does_not_move_what_it_tells() -> None:
    late = told([status_write(14.0, {"history": [entry(5, "long ago")]})], "image-gen")

    assert [one.at for one in decisions(late)] == [START + 5.999]


def test_a_loans_steps_have_the_time_of_their_write_on_the_node() -> None:
    steps_told = {"NodeBorrowed", "NodeLent", "NodeReturned"}
    at = [(one.text.split()[0], one.at - START) for one in MADE if one.reason in steps_told]

    assert at[:4] == [("c", 10), ("c", 18), ("d", 27), ("d", 46)]
    assert at[4:] == [("c", 90), ("d", 92)]


def test_a_loan_is_told_with_what_it_was_to_relieve() -> None:
    first = first_of(MADE, "NodeBorrowed")

    assert first is not None
    assert first.text.endswith(": it " + RELIEF.removeprefix("c of pool research "))


def test_a_loan_whose_plan_no_status_told_is_told_with_what_it_breaks_off() -> None:
    last = last_of(MADE, "NodeBorrowed")

    assert last is not None
    assert last.text.count("; it breaks off Job research/tune, 0.2 GPU-hours of unsaved work") == 1


def test_the_last_of_a_kind_is_found_and_none_where_there_is_none() -> None:
    last = last_of(MADE, "NodeReturned")

    assert last is not None
    assert last.text.startswith("d is home")
    assert last_of(MADE, "MoveUndone") is None
