"""The workload follows the loans whatever becomes of a write, and nobody else's number is fought."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.fleet import LEAVE_TIME, MoveStep
from meltguard.core.memory import Memory
from meltguard.core.policy import Policy, ReplicaWriter
from meltguard.core.replicas import TIGHTENED_WITHIN, OnLoan, replicas, scale_conflict
from meltguard.core.seen import Workload
from meltguard.core.units import Gpus, Instant, NodeName
from support.core_values import a_node, a_policy
from support.demo_evidence import a_claim

POLICY = a_policy()
OWN, EACH = 24, 8


def seen(count: int, lent: int) -> tuple[OnLoan, Workload]:
    claim = replace(a_claim(), policy_uid=POLICY.uid, step=MoveStep.LENT)
    loans = tuple(a_node(f"gpu-1{number}", "inference", gpus=Gpus(EACH), claim=claim) for number in range(lent))
    return OnLoan(nodes=loans), Workload(replicas=count)


def conflict(policy: Policy, memory: Memory, loans: OnLoan, workload: Workload) -> str:
    return scale_conflict(policy, memory, loans.nodes, workload)


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
    assert not conflict(POLICY, memory, *seen(OWN, 1))


def test_another_writer_is_left_alone_and_named() -> None:
    memory = replicas(POLICY, Memory(), *seen(OWN, 1)).remembered(Memory())
    memory = replicas(POLICY, memory, *seen(OWN + EACH, 1)).remembered(memory)
    for theirs in (OWN, OWN + 3):  # a GitOps tool that puts its own number back is one too
        assert replicas(POLICY, memory, *seen(theirs, 1)).change is None
        said = f"someone, who wants {theirs} where we asked for {OWN + EACH}"
        assert conflict(POLICY, memory, *seen(theirs, 1)) == said


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
    assert conflict(POLICY, Memory(), loans, scaled) == "HorizontalPodAutoscaler by-cpu"


def test_what_is_handed_over_is_neither_written_nor_a_conflict() -> None:
    assert POLICY.capacity is not None
    handed = replace(POLICY, capacity=replace(POLICY.capacity, replicas=ReplicaWriter.OTHERS))
    memory = replicas(POLICY, Memory(), *seen(OWN, 1)).remembered(Memory())
    out = replicas(handed, memory, *seen(OWN + 3, 1))
    assert (out.change, out.found, out.asked) == (None, None, None)
    assert not conflict(handed, memory, *seen(OWN + 3, 1))


NOW = Instant(5_000.0)


def recalled(ago: float, *tightened: str, others: int = 0) -> OnLoan:
    """One node that was recalled so long ago, and others that are lent."""
    claim = replace(a_claim(), policy_uid=POLICY.uid, step=MoveStep.RECALLED)
    home = replace(claim, step_deadline=Instant(NOW - ago + LEAVE_TIME))
    node = a_node("gpu-20", "inference", gpus=Gpus(EACH), claim=home)
    lent = seen(0, others)[0].nodes
    return OnLoan(nodes=(*lent, node), tightened=frozenset(NodeName(name) for name in tightened), now=NOW)


OUT = replicas(POLICY, Memory(), *seen(OWN, 1)).remembered(Memory())
FULL = Workload(replicas=OWN + EACH)


def test_pods_serve_on_until_every_limit_does_without_their_node() -> None:
    waits = replicas(POLICY, OUT, recalled(1.0), FULL)
    assert waits.change is None
    goes = replicas(POLICY, waits.remembered(OUT), recalled(1.0, "gpu-20"), FULL)
    assert goes.change is not None
    assert goes.change.replicas == OWN


def test_a_pod_that_never_acknowledges_keeps_no_node_for_long() -> None:
    late = replicas(POLICY, OUT, recalled(TIGHTENED_WITHIN), FULL)
    assert late.change is not None
    assert late.change.replicas == OWN


def test_none_is_added_on_a_node_that_goes_home() -> None:
    """An operator that has just begun does not know who acknowledged; its pods may have left already."""
    gone = replicas(POLICY, OUT, recalled(1.0), FULL).remembered(OUT)
    gone = replicas(POLICY, gone, recalled(1.0, "gpu-20"), FULL).remembered(gone)
    again = replicas(POLICY, gone, recalled(1.0), Workload(replicas=OWN))
    assert again.change is None
    with_another = replicas(POLICY, gone, recalled(1.0, others=1), Workload(replicas=OWN))
    assert with_another.change is not None
    assert with_another.change.replicas == OWN + EACH


def test_of_a_mixed_node_pods_come_for_what_they_ask_for() -> None:
    claim = replace(a_claim(), policy_uid=POLICY.uid, step=MoveStep.LENT)
    kinds = {"nvidia.com/gpu": Gpus(4), "nvidia.com/mig-1g.10gb": Gpus(28)}
    node = a_node("gpu-20", "inference", gpus=Gpus(32), by_kind=kinds, claim=claim)
    out = replicas(POLICY, Memory(), OnLoan(nodes=(node,), asked=frozenset({"nvidia.com/gpu"})), Workload(replicas=OWN))
    assert out.change is not None
    assert out.change.replicas == OWN + 4


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
