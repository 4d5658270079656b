"""Each promise about nodes, kept and broken."""

from meltguard.core.fleet import MoveStep
from meltguard.demo.check.audit import Ref, Write
from meltguard.demo.check.fleet import Step, steps
from meltguard.demo.check.nodes import falling_epochs, lowest_ready, most_loans, moves, not_restored, unreleased
from support.demo_evidence import RESEARCH, a_claim, a_node, a_write, fleet, node_write

BEFORE = fleet(a_node("a"), a_node("b"), a_node("c"), a_node("i", labels={"workload": "inference"}))
LENT_LABELS = {"workload": "inference"}


def story(*writes: Write) -> list[Step]:
    return list(steps(BEFORE, writes))


def a_loan(node: str, start: float, version: int, move: str = "m1") -> list[Write]:
    claimed = a_claim(move)
    lent = a_claim(move, MoveStep.LENT)
    return [
        node_write(start, node, version, claim=claimed, epoch=1),
        node_write(start + 1, node, version + 1, claim=a_claim(move, MoveStep.CORDONED), unschedulable=True, epoch=1),
        node_write(start + 5, node, version + 2, claim=lent, labels=LENT_LABELS, taints=[], epoch=1),
        node_write(start + 60, node, version + 3, epoch=1),
    ]


def test_a_claimed_node_does_not_count_for_the_floor() -> None:
    assert lowest_ready(BEFORE, story(*a_loan("a", 10.0, 10)), RESEARCH) == 2


def test_two_loans_at_once_break_a_floor_of_two() -> None:
    both = [*a_loan("a", 10.0, 10)[:2], *a_loan("b", 20.0, 30, "m2")]

    assert lowest_ready(BEFORE, story(*both), RESEARCH) == 1


def test_cordoned_and_unready_nodes_do_not_count_for_the_floor() -> None:
    cordoned = node_write(1.0, "a", 5, unschedulable=True)
    unready = node_write(2.0, "b", 6, ready=False)

    assert lowest_ready(BEFORE, story(cordoned, unready), RESEARCH) == 1


def test_a_refused_write_changed_nothing() -> None:
    refused = a_write(1.0, "patch", Ref(resource="nodes", name="a"), code=403)

    assert story(refused) == []


def test_writes_are_taken_in_the_stores_order_and_old_ones_left_out() -> None:
    late, early = node_write(1.0, "a", 9, unschedulable=True), node_write(1.1, "a", 8)
    in_snapshot = node_write(0.5, "a", 1, unschedulable=True)

    assert [step.changed.version for step in story(late, early, in_snapshot)] == [8, 9]


def test_loans_at_one_time_are_counted() -> None:
    assert most_loans(BEFORE, story(*a_loan("a", 10.0, 10), *a_loan("b", 100.0, 30, "m2"))) == 1
    assert most_loans(BEFORE, story(*a_loan("a", 10.0, 10)[:2], *a_loan("b", 20.0, 30, "m2"))) == 2


def test_a_lower_epoch_after_a_higher_one_is_found() -> None:
    fresh, stale = node_write(1.0, "a", 10, epoch=5), node_write(2.0, "a", 11, epoch=4)

    assert falling_epochs(BEFORE, story(fresh)) == ()
    assert falling_epochs(BEFORE, story(fresh, stale)) == ("a: epoch 4 after 5",)


def test_an_epoch_that_vanishes_has_fallen() -> None:
    assert falling_epochs(BEFORE, story(node_write(1.0, "a", 10, epoch=5), node_write(2.0, "a", 11))) != ()


def test_a_claim_that_stays_is_found() -> None:
    after = story(*a_loan("a", 10.0, 10)[:3])[-1].fleet

    assert unreleased(after) == ("a",)
    assert unreleased(story(*a_loan("a", 10.0, 10))[-1].fleet) == ()


def test_a_node_that_came_home_as_it_was_is_restored() -> None:
    assert not_restored(BEFORE, story(*a_loan("a", 10.0, 10))[-1].fleet) == ()


def test_every_difference_is_named() -> None:
    after = dict(BEFORE)
    after["a"] = a_node("a", labels={**RESEARCH, "extra": "1"})
    after["b"] = a_node("b", taints=[])
    after["c"] = a_node("c", unschedulable=True)
    del after["i"]

    found = not_restored(BEFORE, after)

    assert [text.split(" ")[0] + text.split(" ")[1] for text in found] == ["iis", "a:labels", "b:taints", "c:cordon"]


def test_an_extra_field_of_a_taint_is_a_difference() -> None:
    taint = {"key": "workload", "value": "research", "effect": "NoSchedule", "timeAdded": "2026-11-23T10:00:00Z"}

    assert len(not_restored(fleet(a_node("a")), fleet(a_node("a", taints=[taint])))) == 1


def test_a_loan_is_told_from_claim_to_release() -> None:
    (move,) = moves(story(*a_loan("a", 10.0, 10)))

    assert (move.node, move.claimed, move.opening, move.released) == ("a", 10.0, 5.0, 70.0)


def test_a_loan_that_never_opened_has_no_opening() -> None:
    (move,) = moves(story(*a_loan("a", 10.0, 10)[:2]))

    assert move.opening is None
    assert move.released is None
