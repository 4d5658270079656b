"""A node as the API server had it after each write, and the whole fleet step by step."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from meltguard.api.claim import parse_claim
from meltguard.core.fleet import CLAIM_ANNOTATION, EPOCH_ANNOTATION, Claim
from meltguard.core.units import Instant
from meltguard.demo.check.audit import Write
from meltguard.errors import InvalidInput


class NodeMeta(msgspec.Struct, frozen=True, rename="camel"):
    """Part of a node's metadata."""

    name: str
    uid: str = ""
    resource_version: str = "0"
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class NodeSpec(msgspec.Struct, frozen=True):
    """Part of a node's spec; taints with all their fields."""

    taints: tuple[dict[str, Any], ...] = ()
    unschedulable: bool = False


class Condition(msgspec.Struct, frozen=True):
    """One condition of a node."""

    type: str
    status: str


class NodeStatus(msgspec.Struct, frozen=True):
    """Part of a node's status."""

    conditions: tuple[Condition, ...] = ()


class NodeObject(msgspec.Struct, frozen=True):
    """A node as the API server writes it, as far as promises are about it."""

    metadata: NodeMeta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def name(self) -> str:
        """The node's name."""
        return self.metadata.name

    @property
    def version(self) -> int:
        """The store's revision: over all objects, later writes have higher ones."""
        return int(self.metadata.resource_version)

    @property
    def epoch(self) -> int | None:
        """The epoch that the last writer of ours left; None where there was none."""
        text = self.metadata.annotations.get(EPOCH_ANNOTATION)
        return int(text) if text is not None and text.isdigit() else None

    @property
    def claim(self) -> Claim | None:
        """The claim on the node. Raises InvalidInput where the annotation is none."""
        text = self.metadata.annotations.get(CLAIM_ANNOTATION)
        return None if text is None else parse_claim(text)

    @property
    def ready(self) -> bool:
        """Whether its kubelet says so."""
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)

    def carries(self, labels: Mapping[str, str]) -> bool:
        """Whether a pool with these labels selects it."""
        return labels.items() <= self.metadata.labels.items()


Fleet = Mapping[str, NodeObject]


def decode_node(body: bytes) -> NodeObject:
    """A node from its JSON. Raises InvalidInput where it is none."""
    try:
        return msgspec.json.decode(body, type=NodeObject)
    except msgspec.MsgspecError as exc:
        raise InvalidInput(f"no node: {exc}; the audit policy must log nodes at level RequestResponse") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The fleet after one write."""

    at: Instant
    changed: NodeObject
    fleet: Fleet


def steps(before: Fleet, writes: Iterable[Write]) -> Iterator[Step]:
    """The fleet as it stood after each write that changed a node, in the store's own order."""
    fleet = dict(before)
    done = ((write.at, decode_node(write.after)) for write in writes if _changes_a_node(write))
    for at, node in sorted(done, key=_version):
        known = fleet.get(node.name)
        if known is not None and node.version <= known.version:
            continue  # seen in the snapshot already, or a write that changed nothing
        fleet[node.name] = node
        yield Step(at=at, changed=node, fleet=dict(fleet))


def _changes_a_node(write: Write) -> bool:
    of_nodes = write.about("nodes") or write.about("nodes", "status")
    return of_nodes and write.accepted and write.verb in {"create", "update", "patch"}


def _version(seen: tuple[Instant, NodeObject]) -> int:
    return seen[1].version
