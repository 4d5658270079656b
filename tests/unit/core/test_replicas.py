"""The workload follows the loans whatever becomes of a write, and nobody else's number is fought."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.fleet import MoveStep, NodeView
from meltguard.core.policy import ReplicaWriter
from meltguard.core.replicas import replicas, scale_conflict
from meltguard.core.seen import Memory, Workload
from meltguard.core.units import Gpus
from support.core_values import a_node, a_policy
from support.demo_evidence import a_claim

POLICY = a_policy()
OWN, EACH = 24, 8


def seen(count: int, lent: int) -> tuple[tuple[NodeView, ...], Workload]:
    claim = replace(a_claim(), policy_uid=POLICY.uid, step=MoveStep.LENT)
    loans = tuple(a_node(f"gpu-1{number}", "inference", gpus=Gpus(EACH), claim=claim) for number in range(lent))
    return loans, Workload(replicas=count)


def test_pods_come_with_a_loan_and_go_with_it() -> None:
    out = replicas(POLICY, Memory(), *seen(OWN, 1))
    assert out.change is not None
    assert out.change.replicas == OWN + EACH
    lent = out.remembered(Memory())
    assert replicas(POLICY, lent, *seen(OWN + EACH, 1)).change is None
    back = replicas(POLICY, lent, *seen(OWN + EACH, 0))
    assert back.change is not None
    assert back.change.replicas == OWN
    home = replicas(POLICY, back.remembered(lent), *seen(OWN, 0))
    assert (home.change, home.found, home.asked, home.before) == (None, None, None, None)


def test_a_write_that_failed_is_tried_again() -> None:
    """It was remembered as done once, and the borrowed node stayed empty until it went home."""
    memory = replicas(POLICY, Memory(), *seen(OWN, 1)).remembered(Memory())
    again = replicas(POLICY, memory, *seen(OWN, 1))
    assert again.change is not None
    assert again.change.replicas == OWN + EACH
    assert not scale_conflict(POLICY, memory, *seen(OWN, 1))


def test_another_writer_is_left_alone_and_named() -> None:
    memory = replicas(POLICY, Memory(), *seen(OWN, 1)).remembered(Memory())
    memory = replicas(POLICY, memory, *seen(OWN + EACH, 1)).remembered(memory)
    for theirs in (OWN, OWN + 3):  # a GitOps tool that puts its own number back is one too
        assert replicas(POLICY, memory, *seen(theirs, 1)).change is None
        said = f"someone, who wants {theirs} where we asked for {OWN + EACH}"
        assert scale_conflict(POLICY, memory, *seen(theirs, 1)) == said


def test_another_writers_number_is_where_the_next_loan_counts_from() -> None:
    """The number of an earlier surge was remembered for ever, and every later loan was a conflict with it."""
    memory = replicas(POLICY, Memory(), *seen(OWN, 1)).remembered(Memory())
    memory = replicas(POLICY, memory, *seen(OWN + EACH, 1)).remembered(memory)
    memory = replicas(POLICY, memory, *seen(OWN + 3, 1)).remembered(memory)
    home = replicas(POLICY, memory, *seen(OWN + 3, 0))
    assert (home.change, home.found, home.asked, home.before) == (None, None, None, None)
    again = replicas(POLICY, home.remembered(memory), *seen(OWN + 3, 1))
    assert again.change is not None
    assert again.change.replicas == OWN + 3 + EACH


def test_a_known_autoscaler_is_left_alone_from_the_beginning() -> None:
    loans, _ = seen(OWN, 1)
    scaled = Workload(replicas=OWN, scaled_by="HorizontalPodAutoscaler by-cpu")
    out = replicas(POLICY, Memory(), loans, scaled)
    assert (out.change, out.found) == (None, None)
    assert scale_conflict(POLICY, Memory(), loans, scaled) == "HorizontalPodAutoscaler by-cpu"


def test_what_is_handed_over_is_neither_written_nor_a_conflict() -> None:
    assert POLICY.capacity is not None
    handed = replace(POLICY, capacity=replace(POLICY.capacity, replicas=ReplicaWriter.OTHERS))
    memory = replicas(POLICY, Memory(), *seen(OWN, 1)).remembered(Memory())
    out = replicas(handed, memory, *seen(OWN + 3, 1))
    assert (out.change, out.found, out.asked) == (None, None, None)
    assert not scale_conflict(handed, memory, *seen(OWN + 3, 1))


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=15), st.integers(0, 3))
def test_whatever_writes_fail_it_ends_where_the_loans_ask(passes: list[tuple[int, bool]], last: int) -> None:
    """Law: with no other writer, after any loans and any lost writes, two good passes bring the right number."""
    memory, count = replicas(POLICY, Memory(), *seen(OWN, 1)).remembered(Memory()), OWN
    for lent, lost in [*passes, (last, False), (last, False)]:
        out = replicas(POLICY, memory, *seen(count, lent))
        memory = out.remembered(memory)
        if out.change is not None and not lost:
            count = out.change.replicas
    assert count == OWN + EACH * last
