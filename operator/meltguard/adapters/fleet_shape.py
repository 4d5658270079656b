"""Nodes and pods on the wire: the few fields that decisions need, out of the hundreds that objects have."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from meltguard.api.claim import parse_claim
from meltguard.core.fleet import CLAIM_ANNOTATION, Claim, NodeView, PodView
from meltguard.core.policy import Taint
from meltguard.core.units import Gpus, NodeName, PodUid, Seconds
from meltguard.errors import InvalidInput

GPU_RESOURCES: Final = frozenset({"nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "gpu.intel.com/xe"})
"""Whole devices. Intel's other resources (tiles, millicores, monitoring) count parts of the same ones."""

MIRROR_ANNOTATION: Final = "kubernetes.io/config.mirror"
DEFAULT_GRACE: Final = 30.0

Quantities = dict[str, str]


class Owner(msgspec.Struct, frozen=True, gc=False):
    """What an object belongs to."""

    kind: str
    controller: bool = False


class Metadata(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Who an object is."""

    name: str
    uid: str
    namespace: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    deletion_timestamp: str | None = None
    owner_references: tuple[Owner, ...] | None = None


class Condition(msgspec.Struct, frozen=True, gc=False):
    """One of an object's conditions."""

    type: str
    status: str


class TaintShape(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A taint as Kubernetes writes it."""

    key: str
    effect: str
    value: str = ""
    time_added: str | None = None


class NodeSpec(msgspec.Struct, frozen=True, gc=False):
    """What a node is told."""

    taints: tuple[TaintShape, ...] | None = None
    unschedulable: bool = False


class NodeStatus(msgspec.Struct, frozen=True, gc=False):
    """What a node says of itself."""

    allocatable: Quantities | None = None
    conditions: tuple[Condition, ...] | None = None


class NodeShape(msgspec.Struct, frozen=True, gc=False):
    """A node."""

    metadata: Metadata
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class Resources(msgspec.Struct, frozen=True, gc=False):
    """What a container asks for."""

    requests: Quantities | None = None
    limits: Quantities | None = None


class Container(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One container."""

    resources: Resources = Resources()
    restart_policy: str | None = None


class PodSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What a pod is told."""

    node_name: str = ""
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] | None = None
    termination_grace_period_seconds: float | None = None


class PodStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What a pod says of itself."""

    phase: str = ""
    pod_ip: str = msgspec.field(name="podIP", default="")
    conditions: tuple[Condition, ...] | None = None


class PodShape(msgspec.Struct, frozen=True, gc=False):
    """A pod."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


_NODES: Final = msgspec.json.Decoder(NodeShape)
_PODS: Final = msgspec.json.Decoder(PodShape)


def read_node(raw: msgspec.Raw | bytes, pods: Sequence[PodView] = ()) -> NodeView:
    """A node's JSON as a view, with the given pods on it; msgspec.DecodeError where it is no node."""
    node = _NODES.decode(raw)
    annotations = node.metadata.annotations or {}
    claim, problem = _read_claim(annotations)
    return NodeView(
        name=NodeName(node.metadata.name),
        uid=node.metadata.uid,
        labels=node.metadata.labels or {},
        annotations=annotations,
        taints=tuple(
            Taint(key=taint.key, value=taint.value, effect=taint.effect, time_added=taint.time_added or "")
            for taint in node.spec.taints or ()
        ),
        unschedulable=node.spec.unschedulable,
        ready=_holds(node.status.conditions, "Ready"),
        gpus=_gpus(node.status.allocatable),
        claim=claim,
        claim_problem=problem,
        pods=tuple(pods),
    )


def read_pod(raw: msgspec.Raw | bytes) -> PodView:
    """A pod's JSON as a view; msgspec.DecodeError where it is no pod."""
    pod = _PODS.decode(raw)
    metadata, status = pod.metadata, pod.status
    grace = pod.spec.termination_grace_period_seconds
    return PodView(
        namespace=metadata.namespace,
        name=metadata.name,
        uid=PodUid(metadata.uid),
        node=NodeName(pod.spec.node_name),
        labels=metadata.labels or {},
        ip=status.pod_ip,
        running=status.phase == "Running",
        ready=_holds(status.conditions, "Ready"),
        finished=status.phase in {"Succeeded", "Failed"},
        terminating=metadata.deletion_timestamp is not None,
        gpus=_pod_gpus(pod.spec),
        owner_kind=_owner_kind(metadata.owner_references or ()),
        owner_name="",
        owner_uid="",
        gang="",
        mirror=MIRROR_ANNOTATION in (metadata.annotations or {}),
        resource_version=metadata.resource_version,
        grace=Seconds(DEFAULT_GRACE if grace is None else grace),
        priority=0,
        started_at=None,
        keep="",
        keep_for=None,
        local_data=False,
        node_selector={},
        notice="",
        asked_at=None,
        evict_after=None,
        saved_at=None,
    )


def _read_claim(annotations: Mapping[str, str]) -> tuple[Claim | None, str]:
    text = annotations.get(CLAIM_ANNOTATION)
    if text is None:
        return None, ""
    try:
        return parse_claim(text), ""
    except InvalidInput as exc:
        return None, str(exc)


def _holds(conditions: Sequence[Condition] | None, kind: str) -> bool:
    return any(condition.type == kind and condition.status == "True" for condition in conditions or ())


def _owner_kind(owners: Sequence[Owner]) -> str:
    """The controlling owner's kind; any owner's where none controls."""
    controlling = [owner.kind for owner in owners if owner.controller]
    return next(iter(controlling or [owner.kind for owner in owners]), "")


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
    return _gpus(container.resources.requests or container.resources.limits)


def _gpus(quantities: Quantities | None) -> Gpus:
    if not quantities:
        return Gpus(0)
    return Gpus(sum(_whole(quantities[name]) for name in GPU_RESOURCES & quantities.keys()))


def _whole(quantity: str) -> int:
    """Devices are whole; Kubernetes writes a thousand of them as 1k.

    >>> _whole("8"), _whole("1k")
    (8, 1000)
    """
    thousands = quantity.removesuffix("k")
    if not thousands.isdecimal():
        return 0
    return int(thousands) * (1000 if thousands != quantity else 1)
