"""Nodes on the wire: the few fields that decisions need, out of the hundreds that objects have."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from meltguard.adapters.object_shape import Condition, Metadata, Quantities, gpus_by_kind, gpus_in, holds
from meltguard.api.claim import parse_claim
from meltguard.api.quantities import parse_instant
from meltguard.core.fleet import CLAIM_ANNOTATION, Claim, NodeView, PodView
from meltguard.core.policy import Taint
from meltguard.core.units import Instant, NodeName
from meltguard.errors import InvalidInput


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


_NODES: Final = msgspec.json.Decoder(NodeShape)


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
        ready=holds(node.status.conditions, "Ready"),
        gpus=gpus_in(node.status.allocatable),
        by_kind=gpus_by_kind(node.status.allocatable),
        claim=claim,
        claim_problem=problem,
        pods=tuple(pods),
        created=parse_instant(node.metadata.creation_timestamp) if node.metadata.creation_timestamp else Instant(0.0),
        deleting=node.metadata.deletion_timestamp is not None,
    )


def _read_claim(annotations: Mapping[str, str]) -> tuple[Claim | None, str]:
    text = annotations.get(CLAIM_ANNOTATION)
    if text is None:
        return None, ""
    try:
        return parse_claim(text), ""
    except InvalidInput as exc:
        return None, str(exc)
