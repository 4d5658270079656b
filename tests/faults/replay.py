"""Nodes and pods as they stood, write by write."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from faults.evidence import Deed, Node, Pod, node_of, pod_of

FOREVER: Final = float("inf")


@dataclass(slots=True)
class Stay:
    """A pod's time on a node, surely: from the answer to its binding to the request that took it away."""

    pod: Pod
    since: float
    until: float = FOREVER


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStep:
    """One write that changed a node (or took it away), with the fleet before and after it."""

    deed: Deed
    name: str
    before: Node | None  # None: it was not there
    after: Node | None  # None: it is gone
    fleet: Mapping[str, Node]  # after it
    fleet_before: Mapping[str, Node]


@dataclass(slots=True)
class PodBook:
    """Pods by uid, each as last seen, and where they stayed."""

    stays: dict[str, Stay] = field(default_factory=dict)
    waiting: dict[tuple[str, str], Pod] = field(default_factory=dict)  # not bound yet, by namespace and name

    def see(self, pod: Pod, at: float) -> None:
        """A pod as it is from now on."""
        stay = self.stays.get(pod.uid)
        if stay is not None:
            stay.pod = pod
            if pod.finished:
                stay.until = min(stay.until, at)
        elif pod.node:
            self.stays[pod.uid] = Stay(pod, at, at if pod.finished else FOREVER)
            self.waiting.pop((pod.namespace, pod.name), None)
        else:
            self.waiting[pod.namespace, pod.name] = pod

    def bind(self, namespace: str, name: str, node: str, at: float) -> None:
        """The scheduler put it there."""
        pod = self.waiting.pop((namespace, name), None)
        if pod is not None:
            self.see(replace(pod, node=node), at)

    def gone(self, namespace: str, name: str, at: float) -> None:
        """The pod of this name is away."""
        self.waiting.pop((namespace, name), None)
        for stay in self.stays.values():
            if (stay.pod.namespace, stay.pod.name) == (namespace, name):
                stay.until = min(stay.until, at)


def node_steps(before: Mapping[str, Node], deeds: Sequence[Deed]) -> Iterator[NodeStep]:
    """Every accepted write to nodes, in the store's own order."""
    fleet = dict(before)
    for deed in in_order([one for one in deeds if one.accepted and one.of_nodes]):
        was = dict(fleet)
        name = deed.ref.name or str(((deed.after or {}).get("metadata") or {}).get("name", ""))
        known = fleet.get(name)
        if deed.verb == "delete":
            fleet.pop(name, None)
            yield NodeStep(deed=deed, name=name, before=known, after=None, fleet=dict(fleet), fleet_before=was)
            continue
        if not isinstance(deed.after, dict) or deed.after.get("kind") != "Node":
            continue
        node = node_of(deed.after)
        if known is not None and known.uid == node.uid and node.version <= known.version:
            continue  # in the snapshot already, or a write that changed nothing
        fleet[name] = node
        yield NodeStep(deed=deed, name=name, before=known, after=node, fleet=dict(fleet), fleet_before=was)


def in_order(deeds: Sequence[Deed]) -> list[Deed]:
    """In the store's order. A deletion's answer has no revision: it stands after what was answered before it."""
    ordered: list[tuple[float, Deed]] = []
    latest = 0.0
    for deed in sorted(deeds, key=_when):
        latest = max(latest, float(deed.version))
        ordered.append((latest + 0.5 if deed.verb == "delete" else float(deed.version), deed))
    return [deed for _, deed in sorted(ordered, key=_place)]


def _when(deed: Deed) -> float:
    return deed.at


def _place(pair: tuple[float, Deed]) -> float:
    return pair[0]


def pod_stays(before: Sequence[Pod], deeds: Sequence[Deed]) -> dict[str, Stay]:
    """Where every pod stayed, from when to when. Of what is not sure to the millisecond, the shorter stay."""
    book = PodBook()
    for pod in before:
        book.see(pod, 0.0)
    for deed in deeds:
        if deed.accepted and deed.ref.resource == "pods":
            _take(book, deed)
    return book.stays


def _take(book: PodBook, deed: Deed) -> None:
    """Evictions only ask: a pod is there until it is deleted, with no grace and no finalizer left."""
    namespace, name = deed.ref.namespace, deed.ref.name
    if deed.ref.subresource == "binding":
        book.bind(namespace, name, str(((deed.asked or {}).get("target") or {}).get("name", "")), deed.at)
        return
    if not isinstance(deed.after, dict) or deed.after.get("kind") != "Pod":
        return
    pod, metadata = pod_of(deed.after), deed.after["metadata"]
    last = pod.terminating and not metadata.get("deletionGracePeriodSeconds") and not metadata.get("finalizers")
    book.see(pod, deed.at)
    if last:
        book.gone(namespace, pod.name, deed.asked_at)


def claims_begun(steps: Sequence[NodeStep]) -> Iterator[float]:
    """When nodes were claimed."""
    for step in steps:
        if step.after is not None and step.after.claim is not None and (step.before is None or not step.before.claim):
            yield step.deed.at
