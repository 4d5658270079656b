"""Pods on the wire: the few fields that decisions need, out of the hundreds that objects have."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from meltguard.adapters.gangs import gang_of
from meltguard.adapters.keeping import asked_to_keep
from meltguard.adapters.object_shape import Condition, Metadata, Owner, Quantities, gpus_by_kind, gpus_in, holds
from meltguard.clock import parse_rfc3339
from meltguard.core.fleet import (
    ASKED_AT_ANNOTATION,
    EVICT_AFTER_ANNOTATION,
    NOTICE_ANNOTATION,
    SAVED_AT_ANNOTATION,
    PodView,
)
from meltguard.core.units import Gpus, Instant, NodeName, PodUid, Seconds

MIRROR_ANNOTATION: Final = "kubernetes.io/config.mirror"
SAFE_VOLUMES_ANNOTATION: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
DEFAULT_GRACE: Final = 30.0
NOBODY: Final = Owner(kind="")


class Resources(msgspec.Struct, frozen=True, gc=False):
    """What a container asks for."""

    requests: Quantities | None = None
    limits: Quantities | None = None


class Container(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One container."""

    resources: Resources = Resources()
    restart_policy: str | None = None


class EmptyDir(msgspec.Struct, frozen=True, gc=False):
    """Scratch space that goes with the pod."""

    medium: str = ""


class Volume(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One volume of a pod."""

    name: str
    empty_dir: EmptyDir | None = None


class Term(msgspec.Struct, frozen=True, gc=False):
    """One condition on a node's label."""

    key: str
    operator: str
    values: tuple[str, ...] | None = None


class NodeTerm(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Conditions that must all hold."""

    match_expressions: tuple[Term, ...] | None = None


class RequiredNodes(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Alternatives, one of which must hold."""

    node_selector_terms: tuple[NodeTerm, ...] = ()


class NodeAffinity(msgspec.Struct, frozen=True, gc=False):
    """Which nodes a pod must have."""

    required: RequiredNodes | None = msgspec.field(name="requiredDuringSchedulingIgnoredDuringExecution", default=None)


class Affinity(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What a pod wants around it."""

    node_affinity: NodeAffinity | None = None


class PodSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What a pod is told."""

    node_name: str = ""
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] | None = None
    termination_grace_period_seconds: float | None = None
    priority: int | None = None
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    volumes: tuple[Volume, ...] | None = None


class PodStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What a pod says of itself."""

    phase: str = ""
    start_time: str | None = None
    pod_ip: str = msgspec.field(name="podIP", default="")
    conditions: tuple[Condition, ...] | None = None
    nominated_node_name: str = ""


class PodShape(msgspec.Struct, frozen=True, gc=False):
    """A pod."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


_PODS: Final = msgspec.json.Decoder(PodShape)


def read_pod(raw: msgspec.Raw | bytes) -> PodView:
    """A pod's JSON as a view; msgspec.DecodeError where it is no pod."""
    pod = _PODS.decode(raw)
    metadata, status = pod.metadata, pod.status
    labels, annotations = metadata.labels or {}, metadata.annotations or {}
    owner, asked = _owner(metadata.owner_references or ()), asked_to_keep(annotations)
    grace = pod.spec.termination_grace_period_seconds
    return PodView(
        namespace=metadata.namespace,
        name=metadata.name,
        uid=PodUid(metadata.uid),
        node=NodeName(pod.spec.node_name),
        labels=labels,
        ip=status.pod_ip,
        running=status.phase == "Running",
        ready=holds(status.conditions, "Ready"),
        finished=status.phase in {"Succeeded", "Failed"},
        terminating=metadata.deletion_timestamp is not None,
        gpus=_pod_gpus(pod.spec),
        owner_kind=owner.kind,
        owner_name=owner.name,
        owner_uid=owner.uid,
        gang=gang_of(metadata.namespace, (owner.kind, owner.name), labels, annotations),
        mirror=MIRROR_ANNOTATION in annotations,
        resource_version=metadata.resource_version,
        grace=Seconds(DEFAULT_GRACE if grace is None else grace),
        priority=pod.spec.priority or 0,
        started_at=_moment(status.start_time or ""),
        keep=asked.why,
        keep_for=asked.lasting,
        local_data=_local_data(pod.spec.volumes or (), annotations),
        node_selector=_node_selector(pod.spec),
        notice=annotations.get(NOTICE_ANNOTATION, ""),
        asked_at=_moment(annotations.get(ASKED_AT_ANNOTATION, "")),
        evict_after=_moment(annotations.get(EVICT_AFTER_ANNOTATION, "")),
        saved_at=_moment(annotations.get(SAVED_AT_ANNOTATION, "")),
        stuck_since=_stuck_since(status),
        gpu_kinds=_pod_gpu_kinds(pod.spec),
    )


def _owner(owners: Sequence[Owner]) -> Owner:
    """The controlling owner; any owner where none controls."""
    controlling = [owner for owner in owners if owner.controller]
    return next(iter(controlling or owners), NOBODY)


def _moment(text: str) -> Instant | None:
    """An annotation's time; one that cannot be read counts as not there: no notice, no answer."""
    try:
        return parse_rfc3339(text) if text else None
    except ValueError:
        return None


def _stuck_since(status: PodStatus) -> Instant | None:
    """The scheduler found no node and is not making room on one either."""
    if status.nominated_node_name:
        return None
    refused = [c for c in status.conditions or () if (c.type, c.status) == ("PodScheduled", "False")]
    found = next((c for c in refused if c.reason == "Unschedulable"), None)
    return _moment(found.last_transition_time or "") if found else None


def _local_data(volumes: Sequence[Volume], annotations: Mapping[str, str]) -> bool:
    """Scratch space on disk goes with the pod. What lies in a hostPath stays on the node, and memory is no store."""
    safe = annotations.get(SAFE_VOLUMES_ANNOTATION, "").split(",")
    return any(
        volume.empty_dir is not None and volume.empty_dir.medium != "Memory" and volume.name not in safe
        for volume in volumes
    )


def _node_selector(spec: PodSpec) -> Mapping[str, str]:
    """The labels that its node must have: its nodeSelector, and required affinity that names one value."""
    wanted = dict(spec.node_selector or {})
    required = spec.affinity.node_affinity.required if spec.affinity and spec.affinity.node_affinity else None
    terms = required.node_selector_terms if required else ()
    for expression in (terms[0].match_expressions or ()) if len(terms) == 1 else ():
        if expression.operator == "In" and len(expression.values or ()) == 1:
            wanted[expression.key] = (expression.values or ("",))[0]
    return wanted


def _pod_gpus(spec: PodSpec) -> Gpus:
    """What the scheduler sets aside: running containers together, or one that runs before them if it asks for more."""
    running = sum(_asked(container) for container in spec.containers)
    before = most_before = 0
    for container in spec.init_containers or ():
        most_before = max(most_before, before + _asked(container))
        if container.restart_policy == "Always":  # a sidecar: it starts before and stays
            before += _asked(container)
    return Gpus(max(running + before, most_before))


def _asked(container: Container) -> Gpus:
    return gpus_in(_resources(container))


def _pod_gpu_kinds(spec: PodSpec) -> frozenset[str]:
    every = (*spec.containers, *(spec.init_containers or ()))
    return frozenset().union(*(gpus_by_kind(_resources(container)) for container in every))


def _resources(container: Container) -> Quantities | None:
    return container.resources.requests or container.resources.limits
