"""What a pod's JSON says about leaving: its gang, its owner's wishes, our notice and its answer."""

import json
from typing import Any

import pytest

from meltguard.adapters.pod_shape import read_pod
from meltguard.core.fleet import PodView

ZERO = "1970-01-01T00:00:00Z"


def read(metadata: dict[str, Any] | None = None, **spec: Any) -> PodView:
    body = {
        "metadata": {"name": "p", "namespace": "lab", "uid": "u", **(metadata or {})},
        "spec": spec,
        "status": {"phase": "Running", "startTime": ZERO},
    }
    return read_pod(json.dumps(body).encode())


def owned(kind: str, name: str = "train") -> dict[str, Any]:
    return {"ownerReferences": [{"kind": kind, "name": name, "uid": "o", "controller": True}]}


GANGS = {
    "a Job's pods": (owned("Job"), "Job lab/train"),
    "a ReplicaSet's pods stand alone": (owned("ReplicaSet"), ""),
    "nobody's": ({}, ""),
    "a JobSet over its Jobs": (
        {**owned("Job", "train-0"), "labels": {"jobset.sigs.k8s.io/jobset-name": "train"}},
        "JobSet lab/train",
    ),
    "one group of a LeaderWorkerSet": (
        {
            **owned("StatefulSet"),
            "labels": {"leaderworkerset.sigs.k8s.io/name": "big", "leaderworkerset.sigs.k8s.io/group-index": "3"},
        },
        "LeaderWorkerSet lab/big group 3",
    ),
    "a RayCluster": ({**owned("RayCluster"), "labels": {"ray.io/cluster": "r"}}, "RayCluster lab/r"),
    "a PyTorchJob": (
        {**owned("PyTorchJob"), "labels": {"training.kubeflow.org/job-name": "bert"}},
        "TrainingJob lab/bert",
    ),
    "Kueue's pod group": ({"labels": {"kueue.x-k8s.io/pod-group-name": "g"}}, "PodGroup lab/g"),
    "Volcano's PodGroup": ({"annotations": {"scheduling.k8s.io/group-name": "g"}}, "PodGroup lab/g"),
}


@pytest.mark.parametrize(("metadata", "gang"), GANGS.values(), ids=GANGS)
def test_gangs(metadata: dict[str, Any], gang: str) -> None:
    assert read(metadata).gang == gang


KEEPING = {
    "our own word": ({"meltguard.io/do-not-evict": "true"}, (True, None)),
    "Karpenter's": ({"karpenter.sh/do-not-disrupt": "true"}, (True, None)),
    "Karpenter's, for a time": ({"karpenter.sh/do-not-disrupt": "30m"}, (True, 1800.0)),
    "Karpenter's, unreadable: it stays": ({"karpenter.sh/do-not-disrupt": "soon"}, (True, None)),
    "the cluster autoscaler's": ({"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}, (True, None)),
    "safe to evict": ({"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}, (False, None)),
    "nothing": ({}, (False, None)),
}


@pytest.mark.parametrize(("annotations", "expected"), KEEPING.values(), ids=KEEPING)
def test_wishes_to_stay(annotations: dict[str, str], expected: tuple[bool, float | None]) -> None:
    pod = read({"annotations": annotations})
    assert (bool(pod.keep), pod.keep_for) == expected


VOLUMES: dict[str, tuple[list[dict[str, Any]], bool]] = {
    "scratch on disk": ([{"name": "s", "emptyDir": {}}], True),
    "scratch in memory": ([{"name": "s", "emptyDir": {"medium": "Memory"}}], False),
    "scratch that nobody misses": ([{"name": "safe", "emptyDir": {}}], False),
    "a directory of the node stays there": ([{"name": "h", "hostPath": {"path": "/data"}}], False),
    "a volume": ([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}], False),
}


@pytest.mark.parametrize(("volumes", "local"), VOLUMES.values(), ids=VOLUMES)
def test_local_data(volumes: list[dict[str, Any]], *, local: bool) -> None:
    safe = {"cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": "other,safe"}
    assert read({"annotations": safe}, volumes=volumes).local_data is local


def test_our_notice_and_its_answer() -> None:
    marks = {
        "meltguard.io/notice": "m-1",
        "meltguard.io/checkpoint-asked-at": "1970-01-01T00:00:10Z",
        "meltguard.io/evict-after": "1970-01-01T00:02:10Z",
        "meltguard.io/checkpoint-saved-at": "1970-01-01T01:00:20+01:00",
    }
    pod = read({"annotations": marks})
    assert (pod.notice, pod.asked_at, pod.evict_after, pod.saved_at) == ("m-1", 10.0, 130.0, 20.0)


@pytest.mark.parametrize("text", ["", "soon", "1970-01-01", "1970-01-01T00:00:00"])
def test_a_moment_that_cannot_be_read_is_no_moment(text: str) -> None:
    assert read({"annotations": {"meltguard.io/checkpoint-saved-at": text}}).saved_at is None


def test_priority_start_and_the_nodes_it_asks_for() -> None:
    terms = [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    pod = read(priority=7, nodeSelector={"workload": "research"}, affinity=affinity)
    assert (pod.priority, pod.started_at) == (7, 0.0)
    assert pod.node_selector == {"workload": "research", "zone": "a"}


def scheduled(status: str, reason: str, **more: Any) -> PodView:
    at = "1970-01-01T00:01:00Z"
    condition = {"type": "PodScheduled", "status": status, "reason": reason, "lastTransitionTime": at}
    body = {
        "metadata": {"name": "p", "namespace": "lab", "uid": "u"},
        "status": {"phase": "Pending", "conditions": [condition], **more},
    }
    return read_pod(json.dumps(body).encode())


def test_since_when_no_node_fits() -> None:
    assert scheduled("False", "Unschedulable").stuck_since == 60.0
    assert scheduled("True", "").stuck_since is None
    assert scheduled("False", "SchedulingGated").stuck_since is None
    assert scheduled("False", "Unschedulable", nominatedNodeName="n").stuck_since is None, "others are preempted for it"
