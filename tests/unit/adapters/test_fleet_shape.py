import json
from typing import Any

import msgspec
import pytest

from meltguard.adapters.fleet_shape import read_node
from meltguard.adapters.pod_shape import read_pod
from meltguard.core.fleet import CLAIM_ANNOTATION, NodeView, PodView
from meltguard.core.policy import Taint
from meltguard.core.units import Gpus


def a_node(metadata: dict[str, Any] | None = None, **parts: Any) -> NodeView:
    named = {"name": "n1", "uid": "u1", **(metadata or {})}
    return read_node(json.dumps({"kind": "Node", "metadata": named, **parts}).encode())


def a_pod(spec: dict[str, Any] | None = None, **parts: Any) -> PodView:
    metadata = {"name": "p1", "namespace": "serving", "uid": "pu", "resourceVersion": "7", **parts.pop("metadata", {})}
    return read_pod(json.dumps({"metadata": metadata, "spec": spec or {}, **parts}).encode())


def test_a_bare_node_is_nothing_that_could_be_lent() -> None:
    node = a_node()
    assert (node.ready, node.gpus, node.unschedulable, node.taints, node.claim) == (False, 0, False, (), None)


def test_a_node_is_read_as_it_stands() -> None:
    node = a_node(
        {"labels": {"workload": "research"}, "annotations": {"a": "b"}},
        spec={
            "unschedulable": True,
            "taints": [
                {"key": "workload", "value": "research", "effect": "NoSchedule"},
                {"key": "k", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"},
            ],
        },
        status={
            "allocatable": {"cpu": "64", "nvidia.com/gpu": "8"},
            "conditions": [{"type": "DiskPressure", "status": "True"}, {"type": "Ready", "status": "True"}],
        },
    )
    assert node.labels == {"workload": "research"}
    assert node.annotations == {"a": "b"}
    assert node.taints == (
        Taint(key="workload", value="research", effect="NoSchedule"),
        Taint(key="k", value="", effect="NoExecute"),
    )
    assert node.taints[1].time_added == "2026-01-01T00:00:00Z"
    assert (node.ready, node.gpus, node.unschedulable) == (True, 8, True)


def test_kinds_of_gpus_are_those_that_are_there() -> None:
    allocatable = {"nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb": "7", "cpu": "8"}
    assert a_node(status={"allocatable": allocatable}).gpu_kinds == {"nvidia.com/mig-1g.10gb"}


@pytest.mark.parametrize(
    ("asked", "gpus", "pods_of_two"),
    [
        ({"nvidia.com/gpu"}, 4, 2),
        ({"nvidia.com/mig-1g.10gb"}, 27, 13),
        ({"nvidia.com/gpu", "nvidia.com/mig-1g.10gb"}, 31, 15),
        ({"amd.com/gpu"}, 0, 0),
        (set(), 31, 15),  # no pod was seen yet
    ],
)
def test_of_a_mixed_node_only_what_is_asked_for_counts(asked: set[str], gpus: int, pods_of_two: int) -> None:
    """MIG on some cards, others whole; a pod has all of its GPUs of one resource."""
    node = a_node(status={"allocatable": {"nvidia.com/gpu": "4", "nvidia.com/mig-1g.10gb": "27"}})
    assert node.gpus_for(frozenset(asked)) == gpus
    assert node.pods_for(frozenset(asked), Gpus(2)) == pods_of_two


def test_a_node_that_is_deleted_and_held_by_a_finalizer_is_known() -> None:
    assert a_node({"deletionTimestamp": "2026-11-23T10:00:00Z"}).deleting
    assert not a_node().deleting


@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_only_a_true_ready_condition_is_ready(status: str) -> None:
    assert not a_node(status={"conditions": [{"type": "Ready", "status": status}]}).ready


GPUS = {
    "NVIDIA": ({"nvidia.com/gpu": "8"}, 8),
    "AMD": ({"amd.com/gpu": "4"}, 4),
    "Intel, old and new driver": ({"gpu.intel.com/i915": "1", "gpu.intel.com/xe": "2"}, 3),
    "parts of Intel devices are not devices": ({"gpu.intel.com/i915": "1", "gpu.intel.com/millicores": "1000"}, 1),
    "a thousand": ({"nvidia.com/gpu": "1k"}, 1000),
    "MIG instances of two profiles": (
        {"nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb": "4", "nvidia.com/mig-3g.40gb": "1"},
        5,
    ),
    "MIG beside whole cards": ({"nvidia.com/gpu": "6", "nvidia.com/mig-1g.10gb": "14"}, 20),
    "time-sliced replicas": ({"nvidia.com/gpu.shared": "16"}, 16),
    "none": ({"cpu": "64", "nvidia.com/hostdev": "4"}, 0),
    "nonsense": ({"nvidia.com/gpu": "many"}, 0),
}


@pytest.mark.parametrize(("allocatable", "expected"), GPUS.values(), ids=GPUS)
def test_what_pods_can_be_given_is_counted(allocatable: dict[str, str], expected: int) -> None:
    assert a_node(status={"allocatable": allocatable}).gpus == expected


@pytest.mark.parametrize("text", ["", "{}", "not json", '{"version": 2}', "x" * 20_000, "[]", "null"])
def test_garbage_in_the_claim_is_reported_and_is_no_claim(text: str) -> None:
    node = a_node({"annotations": {CLAIM_ANNOTATION: text}})
    assert node.claim is None
    assert node.claim_problem


def container(gpus: str | None = None, **more: Any) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": {"nvidia.com/gpu": gpus}} if gpus else {}, **more}


REQUESTS = {
    "containers together": ({"containers": [container("1"), container("2"), container()]}, 3),
    "an init container that asks for more": ({"containers": [container("1")], "initContainers": [container("4")]}, 4),
    "an init container that asks for less": ({"containers": [container("4")], "initContainers": [container("1")]}, 4),
    "a sidecar stays": (
        {"containers": [container("1")], "initContainers": [container("1", restartPolicy="Always")]},
        2,
    ),
    "limits where no requests are written": ({"containers": [{"resources": {"limits": {"nvidia.com/gpu": "2"}}}]}, 2),
    "none": ({"containers": [container()]}, 0),
}


@pytest.mark.parametrize(("spec", "expected"), REQUESTS.values(), ids=REQUESTS)
def test_a_pod_asks_for(spec: dict[str, Any], expected: int) -> None:
    assert a_pod(spec).gpus == expected


def test_a_pod_is_read_as_it_stands() -> None:
    pod = a_pod(
        {"nodeName": "n1", "containers": [], "terminationGracePeriodSeconds": 90},
        metadata={
            "labels": {"app": "image-gen"},
            "deletionTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{"kind": "Gang"}, {"kind": "ReplicaSet", "controller": True}],
        },
        status={"phase": "Running", "podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}]},
    )
    assert (pod.node, pod.ip, pod.running, pod.ready, pod.terminating) == ("n1", "10.0.0.7", True, True, True)
    assert (pod.owner_kind, pod.grace, pod.resource_version) == ("ReplicaSet", 90.0, "7")
    assert pod.labels == {"app": "image-gen"}


def test_no_grace_asked_for_is_the_default_and_zero_is_zero() -> None:
    assert a_pod({"containers": []}).grace == 30.0
    assert a_pod({"containers": [], "terminationGracePeriodSeconds": 0}).grace == 0.0


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_finished_pod_stays_where_it_is(phase: str) -> None:
    assert a_pod(status={"phase": phase}).stays


def test_a_static_pod_is_known_by_its_mirror() -> None:
    assert a_pod(metadata={"annotations": {"kubernetes.io/config.mirror": "x"}}).mirror


@pytest.mark.parametrize("null", ["labels", "annotations", "ownerReferences", "deletionTimestamp"])
def test_a_null_is_as_good_as_absent(null: str) -> None:
    assert a_pod(metadata={null: None}) == a_pod()


def test_what_is_no_node_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        read_node(b'{"metadata": {"name": 7}}')
