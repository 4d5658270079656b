"""The cluster's objects for a round trip: two pools, a service of two pods, four research nodes, their jobs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Object = dict[str, Any]
POOL_KEY: Final = "workload"
SERVING, RESEARCH, OPERATORS = "serving", "research", "meltguard-system"
SERVICE: Final = "image-gen"
GPUS: Final = 8
SERVERS: Final = 2
"""Serving pods, one a node, before any loan."""

FLOOR: Final = 2
AGENT_PORT: Final = 9901
GRACE: Final = 2
"""Seconds that research pods may take to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What may differ between scenarios."""

    busy: bool = False  # research nodes run Job pods
    max_loans: int = 1
    notice: str = "1s"
    deadline: str = "25s"
    max_loan: str = "10m"
    floor: int = FLOOR
    mode: str = "Enforce"


IDLE: Final = Shape()


def research_names(run: str, count: int = 4) -> tuple[str, ...]:
    """Names of a run's research nodes: its own, so that no rest time of an earlier run counts."""
    return tuple(f"research-{run}-{n}" for n in range(1, count + 1))


def a_node(name: str, pool: str) -> Object:
    """A managed node of eight GPUs, which kwok plays."""
    size = {"cpu": "64", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": str(GPUS)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {POOL_KEY: pool, "meltguard.io/managed": "true", "kubernetes.io/hostname": name},
            "annotations": {"kwok.x-k8s.io/node": "fake", "owner.example.com/note": "not ours"},
        },
        "spec": {
            "taints": [_taint(pool), {"key": "team.example.com/keep", "value": "x", "effect": "PreferNoSchedule"}]
        },
        "status": {"allocatable": size, "capacity": size},
    }


def _taint(pool: str) -> Object:
    return {"key": POOL_KEY, "value": pool, "effect": "NoSchedule"}


def tolerating(pool: str) -> list[Object]:
    """What lets a pod onto a pool's nodes."""
    return [{"key": POOL_KEY, "operator": "Equal", "value": pool, "effect": "NoSchedule"}]


def namespaces() -> list[Object]:
    """Of the service, the researchers and the operator."""
    spaces = {SERVING: "serving", RESEARCH: "research", OPERATORS: "platform"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": team}}}
        for name, team in spaces.items()
    ]


def deployment(name: str = SERVICE, pool: str = "inference") -> Object:
    """Two serving pods, one a node."""
    labels = {"app": name}
    resources = {"limits": {"nvidia.com/gpu": str(GPUS)}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": SERVING},
        "spec": {
            "replicas": SERVERS,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": {POOL_KEY: pool},
                    "tolerations": tolerating(pool),
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "server", "image": "image-gen", "resources": resources}],
                },
            },
        },
    }


def pools(shape: Shape) -> list[Object]:
    """Research lends, inference borrows."""
    lending = {
        "floor": shape.floor,
        "maxLoans": shape.max_loans,
        "maxLoanDuration": shape.max_loan,
        "borrowers": {"namespaceSelector": {"matchLabels": {"team": "serving"}}},
        "eviction": {"notice": shape.notice, "minimumRuntime": "0s", "deadline": shape.deadline},
    }
    return [a_pool("inference", {}), a_pool("research", {"lending": lending})]


def a_pool(name: str, more: Mapping[str, Any]) -> Object:
    """One GPUPool."""
    spec = {"nodes": {"labels": {POOL_KEY: name}, "taints": [_taint(name)]}, **more}
    return {"apiVersion": "meltguard.io/v1alpha1", "kind": "GPUPool", "metadata": {"name": name}, "spec": spec}


def a_policy(shape: Shape, name: str = SERVICE, service: str = SERVICE) -> Object:
    """Borrows at once, returns soon; its law's clock runs forty times as fast as usual (the wait target says so)."""
    wait = {"name": "wait", "preset": "agent-wait", "calm": "50ms", "target": "100ms", "critical": "300ms"}
    return {
        "apiVersion": "meltguard.io/v1alpha1",
        "kind": "ImageServicePolicy",
        "metadata": {"name": name, "namespace": SERVING},
        "spec": {
            "mode": shape.mode,
            "service": {
                "selector": {"matchLabels": {"app": service}},
                "agentPort": AGENT_PORT,
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": service},
                "gpusPerPod": GPUS,
            },
            "metrics": {"source": "default", "signals": [wait]},
            "levels": {"dwell": "1s"},
            "capacity": {
                "pool": "inference",
                "borrowFrom": ["research"],
                "maxLoans": shape.max_loans,
                "borrowAtPressure": "0.9",
                "returnAfter": "2s",
                "imagesPerGPUMinute": "60",
            },
            "tiers": [{"name": "free", "floor": "2%"}],
        },
    }


def a_job(node: str, name: str | None = None, **more: Any) -> Object:
    """Training that fills one node until it is told to go elsewhere."""
    resources = {"limits": {"nvidia.com/gpu": str(GPUS)}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name or f"train-{node}", "namespace": RESEARCH},
        "spec": {
            "backoffLimit": 6,
            "template": {
                "metadata": {"labels": {"app": name or f"train-{node}", "run": "faults"}},
                "spec": {
                    "restartPolicy": "Never",
                    "nodeSelector": {POOL_KEY: "research"},
                    "tolerations": tolerating("research"),
                    "terminationGracePeriodSeconds": GRACE,
                    "containers": [{"name": "trainer", "image": "trainer", "resources": resources}],
                    **more,
                },
            },
        },
    }


def a_pod(name: str, node: str, namespace: str = RESEARCH, **metadata: Any) -> Object:
    """A bare pod, bound to a node by its maker: it passes by scheduler and cordon."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": GRACE,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "c", "image": "c"}],
        },
    }
