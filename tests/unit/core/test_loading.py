"""How long a start takes is learned; what does not start in its time is not counted on, nor followed by more."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.api.memory import read_memory, write_memory
from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.fleet import MoveStep, NodeView, PodView
from meltguard.core.load import PodLoad
from meltguard.core.loading import NEVER, SEEN_YOUNG, Loading, late_nodes, loading_after
from meltguard.core.memory import Memory
from meltguard.core.moves import new_claim
from meltguard.core.seen import Workload
from meltguard.core.units import Instant, NodeName, PodUid, Seconds
from support.core_values import FREE, a_load, a_node, a_pod, a_policy, a_pool, a_snapshot

NOW = Instant(1_000_000.0)
POD = PodUid("pod-9")
QUICK = Loading(usual=Seconds(40.0), starts=3)
LATE = Seconds(151.0)  # past three loads and the slack
SURGE, QUEUE = {FREE: 14.0}, {FREE: 60.0}


def ago(seconds: float) -> Instant:
    return Instant(NOW - seconds)


def learned(*starts: float, before: Loading | None = None) -> Loading:
    """After pods that took so long, one after the other."""
    found = before or Loading()
    for number, took in enumerate(starts):
        pod = PodUid(f"pod-{number}")
        found = loading_after(found, {pod: NOW}, set(), Instant(NOW + 1))
        found = loading_after(found, {pod: NOW}, {pod}, Instant(NOW + took))
    return found


def lent(name: str = "gpu-04", since: float = 60.0, *pods: PodView, step: MoveStep = MoveStep.LENT) -> NodeView:
    node = a_node(name, pods=tuple(replace(pod, node=NodeName(name)) for pod in pods))
    claim = new_claim(node, ("serving/image-gen", "policy-uid"), (a_pool(), a_pool("inference")), (NOW, NOW))
    return replace(node, claim=replace(claim, step=step, lent_at=ago(since)))


def serving_pod(**changes: Any) -> PodView:
    fields = {"namespace": "serving", "owner_kind": "ReplicaSet", "ready": False, "started_at": ago(10), **changes}
    return a_pod("image-gen-9", **fields)


def decided(*loans: NodeView, loading: Loading = QUICK, loads: tuple[PodLoad, ...] = (), **seen: Any) -> Decision:
    """A surge that eight GPUs and a lent node of eight are not enough for, unless that one is counted."""
    snapshot = a_snapshot(SURGE, QUEUE, loans=loans, **seen)
    memory = Memory(short_since=ago(60), decided_at=ago(2), loading=loading)
    return decide(a_policy(), memory, replace(snapshot, loads=(*snapshot.loads, *loads)), NOW)


def said(decision: Decision, rule: str) -> tuple[bool, str]:
    found = next(one for one in decision.rules if one.rule == rule)
    return found.holds, found.text


def test_the_first_start_is_believed_and_later_ones_are_averaged() -> None:
    assert learned(40.0).usual == 40.0
    assert learned(40.0, 60.0).usual == 50.0


def test_an_old_pod_teaches_nothing() -> None:
    """An operator that has just begun sees pods that have served for days, and some that were silent for a moment."""
    found = loading_after(Loading(), {POD: ago(SEEN_YOUNG + 1)}, set(), NOW)
    assert loading_after(found, {POD: ago(SEEN_YOUNG + 1)}, {POD}, NOW) == Loading()


def test_an_agent_that_falls_silent_later_is_no_new_start() -> None:
    found = learned(40.0)
    silent = loading_after(found, {PodUid("pod-0"): NOW}, set(), Instant(NOW + 100))
    assert loading_after(silent, {PodUid("pod-0"): NOW}, {PodUid("pod-0")}, Instant(NOW + 200)) == found


def test_a_pod_that_never_answers_is_forgotten() -> None:
    found = loading_after(Loading(), {POD: NOW}, set(), NOW)
    assert found.timed == {POD: NOW}
    assert loading_after(found, {POD: NOW}, set(), Instant(NOW + NEVER + 1)).timed == {}
    assert loading_after(found, {}, set(), Instant(NOW + 5)).timed == {}


@given(st.lists(st.floats(1.1, NEVER), min_size=1, max_size=30))
def test_one_broken_start_moves_the_usual_little(starts: list[float]) -> None:
    found = learned(*[40.0] * 8, *starts)
    assert found.usual is not None
    assert min(40.0, *starts) <= found.usual <= max(40.0, *starts) + 1e-6
    once = learned(NEVER, before=learned(*[40.0] * 8))
    assert once.usual == pytest.approx(40.0 + 110.0 / 8)


def test_it_survives_a_restart_but_for_the_pods_being_timed() -> None:
    found = replace(QUICK, timed={POD: NOW})
    assert read_memory(write_memory(Memory(loading=found))).loading == QUICK
    assert read_memory(write_memory(Memory())).loading == Loading()


@pytest.mark.parametrize(
    ("node", "late"),
    [
        (lent(since=LATE), True),  # no pod came at all
        (lent("gpu-04", LATE, serving_pod(started_at=ago(LATE))), True),
        (lent("gpu-04", LATE, serving_pod()), False),  # it loads
        (lent("gpu-04", LATE, serving_pod(ready=True, started_at=ago(LATE))), False),  # silent, not late
        (lent("gpu-04", LATE, serving_pod(namespace="lab")), True),  # somebody else's
        (lent("gpu-04", LATE, serving_pod(terminating=True)), True),
        (lent(since=60.0), False),
        (lent(since=LATE, step=MoveStep.RECALLED), False),  # on its way home
    ],
)
def test_what_is_late(node: NodeView, late: bool) -> None:  # noqa: FBT001 - a table's column
    assert late_nodes([node], QUICK, frozenset(), NOW) == (frozenset({node.name}) if late else frozenset())
    assert late_nodes([node], QUICK, frozenset({node.name}), NOW) == frozenset()
    assert late_nodes([node], Loading(), frozenset(), NOW) == frozenset(), "nothing is late before anything is learned"


def test_a_node_whose_pod_loads_is_counted_on() -> None:
    coming = decided(lent("gpu-04", 60.0, serving_pod()))
    assert said(coming, "GPUs are missing")[0] is False
    assert coming.borrow == ()


def test_a_node_that_should_serve_and_does_not_is_counted_on_no_more_and_no_other_follows_it() -> None:
    late = decided(lent(since=LATE))
    assert said(late, "GPUs are missing")[0] is True
    holds, text = said(late, "loans serve")
    assert not holds
    assert "gpu-04" in text
    assert "40 s" in text
    assert late.borrow == ()


def test_where_another_loan_serves_the_late_one_is_replaced() -> None:
    works = replace(a_load(9, {FREE: 1.0}, {FREE: 5.0}), node=NodeName("gpu-05"))
    nodes = (lent("gpu-04", LATE), lent("gpu-05", LATE, serving_pod(ready=True)))
    found = decided(*nodes, loads=(works,), ready_pods=9)
    assert said(found, "loans serve")[0] is True
    assert len(found.borrow) == 1


@pytest.mark.parametrize(("usual", "holds"), [(40.0, True), (1800.0, True), (1801.0, False)])
def test_nobody_lends_for_a_node_that_would_go_home_soon_after_it_loaded(usual: float, holds: bool) -> None:  # noqa: FBT001
    found = decided(loading=Loading(usual=Seconds(usual), starts=8))
    outcome = [one for one in found.rules if one.rule == "loan outlasts its start"]
    assert bool(found.borrow) is holds
    assert [one.holds for one in outcome] == ([True] if holds else [False])
    assert holds or "maxLoanDuration" in outcome[0].text


def test_pods_that_do_not_answer_are_no_capacity() -> None:
    """Replicas asked for, pods bound, pods Ready: none of them counts before its agent has answered."""
    before = decided()
    for pods in ((), (serving_pod(),), (serving_pod(ready=True),)):
        ready = 8 + sum(pod.ready for pod in pods)
        found = decided(lent("gpu-04", 5.0, *pods), workload=Workload(replicas=16), ready_pods=ready)
        assert found.capacity == before.capacity
        assert [limit.rate for limit in found.limits] == [limit.rate for limit in before.limits]
    answers = replace(a_load(9, {FREE: 1.0}, {FREE: 5.0}), node=NodeName("gpu-04"))
    after = decided(lent("gpu-04", 5.0, serving_pod(ready=True)), loads=(answers,), ready_pods=9)
    assert before.capacity is not None
    assert after.capacity == pytest.approx(before.capacity * 9 / 8)
