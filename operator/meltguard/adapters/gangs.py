"""Which pods stand or fall together, as their owners' labels say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How one kind of gang marks its pods; where `group` is named too, each group is a gang of its own."""

    kind: str
    key: str
    group: str = ""


LABELS: Final[tuple[Mark, ...]] = (
    Mark(kind="JobSet", key="jobset.sigs.k8s.io/jobset-name"),
    Mark(
        kind="LeaderWorkerSet",
        key="leaderworkerset.sigs.k8s.io/name",
        group="leaderworkerset.sigs.k8s.io/group-index",
    ),
    Mark(kind="RayCluster", key="ray.io/cluster"),
    Mark(kind="TrainingJob", key="training.kubeflow.org/job-name"),  # PyTorchJob and the other Kubeflow kinds
    Mark(kind="PodGroup", key="kueue.x-k8s.io/pod-group-name"),
    Mark(kind="PodGroup", key="pod-group.scheduling.sigs.k8s.io"),
)
"""Outermost first: a JobSet's pods belong to Jobs too, and fall with the JobSet."""

ANNOTATIONS: Final[tuple[Mark, ...]] = (Mark(kind="PodGroup", key="scheduling.k8s.io/group-name"),)
"""Volcano's: it makes a PodGroup for every pod's owner."""


def gang_of(namespace: str, owner: tuple[str, str], labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    """`Kind namespace/name` of the gang that a pod belongs to; "" for one that stands alone. `owner` is (kind, name).

    The pods of one Job count as a gang: they share its backoffLimit.

    >>> gang_of("lab", ("Job", "train-0"), {"jobset.sigs.k8s.io/jobset-name": "train"}, {})
    'JobSet lab/train'
    >>> gang_of("lab", ("ReplicaSet", "notebook"), {}, {})
    ''
    """
    for marks, texts in ((LABELS, labels), (ANNOTATIONS, annotations)):
        for mark in marks:
            if name := texts.get(mark.key):
                return f"{mark.kind} {namespace}/{name}{_group(mark, texts)}"
    return f"Job {namespace}/{owner[1]}" if owner[0] == "Job" else ""


def _group(mark: Mark, texts: Mapping[str, str]) -> str:
    group = texts.get(mark.group, "") if mark.group else ""
    return f" group {group}" if group else ""
