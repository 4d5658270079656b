"""The cluster that the demo sets up: GPU nodes of two pools, research work, an image service and its policy.

Plain Kubernetes objects. Durations are written as a real service would have them; `speed` divides them, and multiplies
what is counted per time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from meltguard.core.fleet import MANAGED_LABEL
from meltguard.core.units import Seconds
from meltguard.demo import research
from meltguard.demo.gpu import Flaw
from meltguard.demo.host_setup import AGENT_PORT, DATA_PORT
from meltguard.demo.node_host import SERVER
from meltguard.demo.plan import FEATURE, FREE, FREE_IMAGES_A_DAY, PLUS, PRO

Object = dict[str, Any]

GPUS_A_NODE: Final = 8
INFERENCE_NODES, RESEARCH_NODES = 4, 8
RESEARCH_FLOOR: Final = 4
MOST_LOANS: Final = 3
FLAWS: Final[Mapping[str, Mapping[int, Flaw]]] = {"gpu-02": {3: Flaw.HOT}, "gpu-03": {5: Flaw.SLOW}}
"""One card that is cooled badly, and one that is slow and shows it nowhere."""

INFERENCE: Final = "inference"
"""The pool that the service's own nodes belong to."""

FREE_FLOOR: Final = "2%"

SERVING, RESEARCH, OPERATOR = "serving", research.NAMESPACE, "meltguard-system"
"""Namespaces."""

SERVICE: Final = "image-gen"
VERSIONS: Final = ("registry.example.com/image-gen:3.2", "registry.example.com/image-gen:3.3")
"""What runs, and what a developer ships in the middle of the surge."""

POOL_KEY: Final = "workload"
"""Label and taint that tell the pools apart."""

WAIT_TARGET: Final = Seconds(15.0)
"""Of a service whose median request takes 23 s on a GPU."""


def card_with(flaw: Flaw) -> tuple[str, int]:
    """The card that has a flaw: its node and its index there."""
    return next((node, index) for node, cards in FLAWS.items() for index, has in cards.items() if has is flaw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What the policy's own durations become in a run."""

    speed: float
    model_load: Seconds  # recorded, real

    def time(self, seconds: float) -> str:
        """A real duration, divided.

        >>> Pace(speed=12.0, model_load=Seconds(22.7)).time(60)
        '5.000s'
        """
        return f"{seconds / self.speed:.3f}s"

    def rate(self, a_minute: float) -> str:
        """A real rate, multiplied."""
        return f"{a_minute * self.speed:.0f}/m"


def node_names() -> tuple[str, ...]:
    """All GPU nodes; the first INFERENCE_NODES serve images."""
    return tuple(f"gpu-{number:02}" for number in range(1, INFERENCE_NODES + RESEARCH_NODES + 1))


def gpu_nodes() -> list[Object]:
    """Eight-way machines, as their owners' tools label them."""
    workloads = [INFERENCE] * INFERENCE_NODES + ["research"] * RESEARCH_NODES
    return [_node(name, workload) for name, workload in zip(node_names(), workloads, strict=True)]


def _node(name: str, workload: str) -> Object:
    size = {
        "cpu": "128",
        "memory": "2Ti",
        "pods": "110",
        "ephemeral-storage": "7Ti",
        "nvidia.com/gpu": str(GPUS_A_NODE),
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "node.kubernetes.io/instance-type": "hgx-h100-8",
                "topology.kubernetes.io/zone": "zrh-a",
                "nvidia.com/gpu.count": str(GPUS_A_NODE),
                "nvidia.com/gpu.present": "true",
                "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
                MANAGED_LABEL: "true",
                POOL_KEY: workload,
            },
        },
        "spec": {"taints": [{"key": POOL_KEY, "value": workload, "effect": "NoSchedule"}]},
        "status": {"capacity": size, "allocatable": size},
    }


def namespaces() -> list[Object]:
    """Of the service, the researchers and the exporters."""
    spaces: tuple[tuple[str, dict[str, str]], ...] = (
        (SERVING, {"team": "serving"}),
        (RESEARCH, {"team": "research"}),
        ("gpu-operator", {}),
    )
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        for name, labels in spaces
    ]


def exporters() -> Object:
    """The exporter's DaemonSet: pods that stay on a node whoever has it."""
    labels = {"app": "dcgm-exporter"}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "dcgm-exporter", "namespace": "gpu-operator"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": {"nvidia.com/gpu.present": "true"},
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [_container("exporter", "nvcr.io/nvidia/k8s/dcgm-exporter:4.2.3")],
                },
            },
        },
    }


def deployment(pace: Pace) -> Object:
    """The image service: one GPU a pod, on nodes that carry the inference label."""
    labels = {"app": SERVICE}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": SERVICE, "namespace": SERVING, "labels": labels},
        "spec": {
            "replicas": INFERENCE_NODES * GPUS_A_NODE,
            "strategy": {"rollingUpdate": {"maxUnavailable": "25%", "maxSurge": 0}},  # no GPU is left for a surge pod
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {"local.meltguard.io/load-delay": pace.time(pace.model_load)},
                },
                "spec": {
                    "nodeSelector": {POOL_KEY: INFERENCE},
                    "tolerations": [_tolerated(INFERENCE)],
                    "terminationGracePeriodSeconds": 60,
                    "containers": [_container(SERVER, VERSIONS[0], 1)],
                },
            },
        },
    }


def pools(pace: Pace) -> list[Object]:
    """Research lends, inference borrows."""
    return [
        _pool(INFERENCE, {}),
        _pool(
            "research",
            {
                "lending": {
                    "floor": RESEARCH_FLOOR,
                    "maxLoans": MOST_LOANS,
                    "maxLoanDuration": pace.time(4 * 3600),
                    "borrowers": {"namespaceSelector": {"matchLabels": {"team": "serving"}}},
                    "eviction": {
                        "notice": pace.time(120),
                        "minimumRuntime": pace.time(120),
                        "deadline": pace.time(900),
                        "onDeadline": "GiveUp",
                    },
                }
            },
        ),
    ]


def _pool(name: str, more: Object) -> Object:
    taints = [{"key": POOL_KEY, "value": name, "effect": "NoSchedule"}]
    return {
        "apiVersion": "meltguard.io/v1alpha1",
        "kind": "GPUPool",
        "metadata": {"name": name},
        "spec": {"nodes": {"labels": {POOL_KEY: name}, "taints": taints}, **more},
    }


def policy(pace: Pace) -> Object:
    """What holds the service up: limits by tier, and nodes from research."""
    return {
        "apiVersion": "meltguard.io/v1alpha1",
        "kind": "ImageServicePolicy",
        "metadata": {"name": SERVICE, "namespace": SERVING},
        "spec": {
            "mode": "Enforce",
            "service": {
                "selector": {"matchLabels": {"app": SERVICE}},
                "agentPort": AGENT_PORT,
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": SERVICE},
                "gpusPerPod": 1,
            },
            "metrics": {"source": "default", "staleAfter": pace.time(120), "signals": _signals(pace)},
            "levels": {"dwell": pace.time(60)},
            "capacity": {
                "pool": INFERENCE,
                "borrowFrom": ["research"],
                "maxLoans": MOST_LOANS,
                "borrowAtPressure": "0.9",
                "returnAfter": pace.time(120),
            },
            "tiers": tiers(pace),
            "features": [
                {
                    "name": FEATURE,
                    "rollout": {"Normal": "100%", "Elevated": "50%", "Overloaded": "10%", "Critical": "0%"},
                }
            ],
            "rollouts": {"holdAt": "Elevated"},
        },
    }


def _signals(pace: Pace) -> list[Object]:
    calm, target, critical = (pace.time(share * WAIT_TARGET) for share in (1 / 3, 1.0, 3.0))
    return [
        {"name": "wait", "preset": "agent-wait", "calm": calm, "target": target, "critical": critical},
        {"name": "temperature", "preset": "gpu-temperature", "calm": "72", "target": "84", "critical": "92"},
        {"name": "utilization", "preset": "gpu-utilization", "use": "Confirm"},
    ]


def tiers(pace: Pace) -> list[Object]:
    """Of users, the lowest first, and what each loses from which level on."""
    return [
        {
            "name": FREE,
            "priority": 0,
            "floor": FREE_FLOOR,
            "max": pace.rate(300),
            "quota": {"images": FREE_IMAGES_A_DAY, "per": "day", "timeZone": "UTC"},
            "maxWait": pace.time(60),
            "shedStatus": 503,
            "message": "Free images pause while demand is high.",
            "onLevel": {"Elevated": "Delay", "Overloaded": "Reject", "Critical": "Suspend"},
        },
        {
            "name": PLUS,
            "priority": 10,
            "weight": 3,
            "maxWait": pace.time(120),
            "message": "You are in the queue: the GPUs are all at work.",
            "onLevel": {"Overloaded": "Delay"},
        },
        {"name": PRO, "priority": 20, "maxWait": pace.time(120)},
    ]


def _tolerated(workload: str) -> Object:
    return {"key": POOL_KEY, "operator": "Equal", "value": workload, "effect": "NoSchedule"}


def _container(name: str, image: str, gpus: int = 0) -> Object:
    made: Object = {"name": name, "image": image}
    if name == SERVER:
        made["ports"] = [{"name": "http", "containerPort": DATA_PORT}, {"name": "agent", "containerPort": AGENT_PORT}]
    if gpus:
        made["resources"] = {"limits": {"nvidia.com/gpu": str(gpus)}}
    return made
