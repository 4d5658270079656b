"""A node's way out and home, from every step, with every patch applied to a real JSON document."""

import copy
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.adapters.fleet_shape import read_node
from meltguard.api.claim import parse_claim, write_claim
from meltguard.api.node_patch import enter_patch, release_patch
from meltguard.core.fleet import CLAIM_ANNOTATION, EPOCH_ANNOTATION, Drain, MoveStep, NodeView
from meltguard.core.move_actions import Enter, Evict, Intent, Release, Scene, Wait, Wanted
from meltguard.core.moves import new_claim, next_action
from meltguard.core.node_shape import CORDON_TAINT
from meltguard.core.stopped import Stopped
from meltguard.core.units import Epoch, GpuHours, Instant
from meltguard.errors import InvalidInput
from support.core_values import a_node, a_pod, a_pool, claimed
from support.drain_world import EVICTION

OUT = Intent(wanted=Wanted.OUT, why="")
HOME = Intent(wanted=Wanted.HOME, why="calm")
NOW = Instant(1000.0)
PODS = (a_pod(), a_pod("leaving", terminating=True), a_pod("ds", owner_kind="DaemonSet"))


def a_document(**metadata: Any) -> dict[str, Any]:
    """A node as the API server holds it."""
    return {
        "metadata": {
            "name": "gpu-05",
            "uid": "u-5",
            "resourceVersion": "7",
            "labels": {"workload": "research", "meltguard.io/managed": "true", "zone": "a"},
            "annotations": {"node.alpha.kubernetes.io/ttl": "0"},
            **metadata,
        },
        "spec": {
            "taints": [
                {"key": "nvidia.com/gpu", "effect": "NoSchedule"},
                {"key": "workload", "value": "research", "effect": "NoSchedule"},
            ]
        },
        "status": {
            "allocatable": {"nvidia.com/gpu": "8"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


class Refused(Exception):
    """A test of the patch failed."""


def patched(document: dict[str, Any], ops: list[dict[str, Any]]) -> dict[str, Any]:
    """RFC 6902 for objects, as the API server applies it: all or nothing, a missing member tests equal to null."""
    result = copy.deepcopy(document)
    for op in ops:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in op["path"].split("/")[1:]]
        place: Any = result
        for part in parents:
            place = place[part]
        if op["op"] == "test" and place.get(last) != op["value"]:
            raise Refused(op["path"])
        if op["op"] == "add":
            place[last] = copy.deepcopy(op["value"])
        if op["op"] == "remove":
            if last not in place:
                raise Refused(op["path"])
            del place[last]
    return cordon_taint(result)


def cordon_taint(document: dict[str, Any]) -> dict[str, Any]:
    """What Kubernetes itself does about a cordon."""
    taints = [taint for taint in document["spec"].get("taints", []) if taint["key"] != CORDON_TAINT]
    if document["spec"].get("unschedulable"):
        taints.append({"key": CORDON_TAINT, "effect": "NoSchedule", "timeAdded": "2026-11-23T00:00:00Z"})
    document["spec"]["taints"] = taints
    return document


def seen(document: dict[str, Any]) -> NodeView:
    return read_node(msgspec.json.encode(document))


def walk(document: dict[str, Any], intent: Intent, until: set[MoveStep | None]) -> list[dict[str, Any]]:
    """Take steps until the claim is at one of `until`; every document on the way."""
    trail = [document]
    for _ in range(12):
        node = seen(trail[-1])
        if (node.claim.step if node.claim else None) in until:
            return trail
        if node.claim is None:
            pools = (a_pool(), a_pool("inference"))
            claim = new_claim(node, ("serving/image-gen", "policy-uid"), pools, (NOW, Instant(NOW + 3600)))
            trail.append(patched(trail[-1], enter_patch(node, claim, Epoch(3))))
            continue
        action = next_action(node, node.claim, intent, Scene(now=NOW))
        if isinstance(action, Enter):
            trail.append(patched(trail[-1], enter_patch(node, action.claim, Epoch(3))))
        elif isinstance(action, Release):
            trail.append(patched(trail[-1], release_patch(node, action.claim, Epoch(3))))
        else:
            pytest.fail(f"stuck: {action}")
    raise AssertionError("no end")


def lent() -> dict[str, Any]:
    return walk(a_document(), OUT, {MoveStep.LENT})[-1]


def test_a_lent_node_is_the_borrowers() -> None:
    node = seen(lent())
    assert node.labels["workload"] == "inference"
    assert [taint.value for taint in node.taints if taint.key == "workload"] == ["inference"]
    assert not node.unschedulable
    assert node.annotations[EPOCH_ANNOTATION] == "3"
    assert node.annotations["karpenter.sh/do-not-disrupt"] == "true"


def test_a_node_comes_home_byte_equal() -> None:
    before = a_document()
    after = walk(lent(), HOME, {None})[-1]
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert after["spec"] == before["spec"]
    assert {k: v for k, v in after["metadata"]["annotations"].items() if k != EPOCH_ANNOTATION} == before["metadata"][
        "annotations"
    ]


@pytest.mark.parametrize("crash_after", range(1, 5))
def test_from_every_outward_step_the_way_home_is_exact(crash_after: int) -> None:
    before = a_document()
    trail = walk(before, OUT, {MoveStep.LENT})
    after = walk(trail[min(crash_after, len(trail) - 1)], HOME, {None})[-1]
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert after["spec"] == before["spec"]


def test_a_step_written_twice_is_refused_the_second_time() -> None:
    document = walk(a_document(), OUT, {MoveStep.CLAIMED})[-1]
    node = seen(document)
    assert node.claim is not None
    action = next_action(node, node.claim, OUT, Scene(now=NOW))
    assert isinstance(action, Enter)
    ops = enter_patch(node, action.claim, Epoch(3))
    once = patched(document, ops)
    with pytest.raises(Refused):
        patched(once, ops)


def test_a_claim_never_overwrites_another() -> None:
    node = seen(a_document())
    pools = (a_pool(), a_pool("inference"))
    claim = new_claim(node, ("serving/other", "other-uid"), pools, (NOW, NOW))
    with pytest.raises(Refused):
        patched(lent(), enter_patch(node, claim, Epoch(4)))


def test_a_node_without_annotations_can_be_claimed() -> None:
    document = a_document()
    del document["metadata"]["annotations"]
    assert seen(walk(document, OUT, {MoveStep.LENT})[-1]).claim is not None


def test_a_recreated_node_is_not_ours() -> None:
    document = walk(a_document(), OUT, {MoveStep.CORDONED})[-1]
    node = seen(document)
    assert node.claim is not None
    recreated = {**document, "metadata": {**document["metadata"], "uid": "another"}}
    action = next_action(node, node.claim, OUT, Scene(now=NOW))
    assert isinstance(action, Enter)
    with pytest.raises(Refused):
        patched(recreated, enter_patch(node, action.claim, Epoch(3)))


def test_what_others_changed_meanwhile_stays() -> None:
    document = lent()
    document["spec"]["taints"].append({"key": "theirs", "effect": "NoSchedule"})
    document["spec"]["taints"] = [taint for taint in document["spec"]["taints"] if taint["key"] != "nvidia.com/gpu"]
    document["metadata"]["labels"]["zone"] = "b"
    after = walk(document, HOME, {None})[-1]
    assert [taint["key"] for taint in after["spec"]["taints"]] == ["workload", "theirs"]
    assert after["spec"]["taints"][0]["value"] == "research"
    assert after["metadata"]["labels"]["zone"] == "b"


def test_an_admins_cordon_while_lent_is_theirs() -> None:
    document = cordon_taint({**lent(), "spec": {**lent()["spec"], "unschedulable": True}})
    after = walk(document, HOME, {None})[-1]
    assert after["spec"]["unschedulable"] is True


def test_an_admins_uncordon_in_the_middle_ends_the_move() -> None:
    document = walk(a_document(), OUT, {MoveStep.CORDONED})[-1]
    del document["spec"]["unschedulable"]
    node = seen(document)
    assert node.claim is not None
    action = next_action(node, node.claim, OUT, Scene(now=NOW))
    assert isinstance(action, Enter)
    assert action.claim.step is MoveStep.HOME
    assert "uncordoned" in action.claim.why


@pytest.mark.parametrize("step", [MoveStep.CORDONED, MoveStep.RELABELLED])
def test_a_node_with_a_pod_is_neither_relabelled_nor_opened(step: MoveStep) -> None:
    document = walk(a_document(), OUT, {step})[-1]
    node = replace(seen(document), pods=(a_pod(),))
    assert node.claim is not None
    assert isinstance(next_action(node, node.claim, OUT, Scene(now=NOW)), Wait)
    late = next_action(node, node.claim, OUT, Scene(now=Instant(NOW + 61)))
    assert isinstance(late, Enter)
    assert late.claim.step in {MoveStep.HOME, MoveStep.RESTORED}


def test_pods_on_a_recalled_node_are_awaited_then_evicted() -> None:
    document = walk(lent(), HOME, {MoveStep.RECALLED})[-1]
    node = replace(
        seen(document), pods=(a_pod(), a_pod("leaving", terminating=True), a_pod("ds", owner_kind="DaemonSet"))
    )
    assert node.claim is not None
    assert isinstance(next_action(node, node.claim, HOME, Scene(now=NOW)), Wait)
    late = next_action(node, node.claim, HOME, Scene(now=Instant(NOW + 121)))
    assert isinstance(late, Evict)
    assert [pod.name for pod in late.pods] == ["job-1"]


def test_a_loan_ends_when_it_is_due() -> None:
    node = seen(lent())
    assert node.claim is not None
    action = next_action(node, node.claim, OUT, Scene(now=Instant(node.claim.due + 1)))
    assert isinstance(action, Enter)
    assert action.claim.step is MoveStep.RECALLED


def test_a_recall_is_never_taken_back() -> None:
    document = walk(lent(), HOME, {MoveStep.RECALLED})[-1]
    assert seen(walk(document, OUT, {None})[-1]).claim is None


@given(st.text(max_size=300))
def test_garbage_is_no_claim(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_claim(text)


@given(since=st.floats(0, 4e9), step=st.sampled_from(MoveStep), cordoned=st.booleans())
def test_a_claim_survives_being_written(since: float, step: MoveStep, cordoned: bool) -> None:  # noqa: FBT001
    node = a_node(unschedulable=cordoned)
    pools = (a_pool(), a_pool("inference"))
    claim = new_claim(node, ("serving/image-gen", "uid"), pools, (Instant(since), Instant(since + 60)))
    stopped = (Stopped(work="Job lab/train", hours=GpuHours(1.5), saved=None if cordoned else Instant(since)),)
    at = Instant(since + 60)
    drain = Drain(eviction=EVICTION, deadline=at, work_lost=GpuHours(1.5), victims=("Job lab/train",), stopped=stopped)
    there = replace(claim, step=step, drain=drain)
    assert parse_claim(write_claim(there)) == there
    assert claimed(node, there, write_claim(there)).annotations[CLAIM_ANNOTATION]
