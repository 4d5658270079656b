"""What the research team runs on its nodes: a gang that may not be broken, training that saves its work, a notebook."""

from typing import Any, Final

from meltguard.demo.node_host import SAVES, TRAINER

Object = dict[str, Any]

NAMESPACE: Final = "research"
GPUS: Final = 8
"""Each of these pods takes a whole node."""

GANG, TRAINERS, NOTEBOOKS = 3, 2, 1
BUSY_NODES: Final = GANG + TRAINERS + NOTEBOOKS
RANK: Final = 1000


def work() -> list[Object]:
    """In an order in which each finds what it needs."""
    return [
        _rank("research-deadline", RANK, "Runs with a deadline: their pods are not moved for anyone."),
        _budget("pretrain-7b", GANG),
        _job("pretrain-7b", GANG, {"priorityClassName": "research-deadline"}),
        _budget("finetune", TRAINERS - 1),
        _job("finetune", TRAINERS, {}, labels={SAVES: "true"}),
        _job("notebook", NOTEBOOKS, {}, annotations={"meltguard.io/do-not-evict": "true"}),
    ]


def _rank(name: str, value: int, text: str) -> Object:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
        "description": text,
    }


def _budget(app: str, least: int) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": app, "namespace": NAMESPACE},
        "spec": {"minAvailable": least, "selector": {"matchLabels": {"app": app}}},
    }


def _job(
    name: str,
    pods: int,
    spec: Object,
    *,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
) -> Object:
    """Training that lasts longer than any demo."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "parallelism": pods,
            "completions": pods,
            "completionMode": "Indexed",
            "backoffLimit": 6,
            "template": {
                "metadata": {"labels": {"app": name, **(labels or {})}, "annotations": annotations or {}},
                "spec": {
                    **spec,
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": 5,
                    "nodeSelector": {"workload": "research"},
                    "tolerations": [{"key": "workload", "operator": "Equal", "value": "research"}],
                    "containers": [
                        {
                            "name": TRAINER,
                            "image": "registry.example.com/trainer:1.4",
                            "resources": {"limits": {"nvidia.com/gpu": str(GPUS)}},
                        }
                    ],
                },
            },
        },
    }
