"""Nodes and pods in memory, behind the ports that the operator's mover works through.

A write is taken as the API server would take it, and at once: what breaks on the way is what `make faults` is for.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from typing_extensions import override

from meltguard.clock import parse_rfc3339
from meltguard.core.fleet import (
    ASKED_AT_ANNOTATION,
    EVICT_AFTER_ANNOTATION,
    NOTICE_ANNOTATION,
    Budget,
    Claim,
    FleetView,
    Guards,
    Job,
    NodeView,
    PodView,
    by_namespace,
)
from meltguard.core.guarded import is_meant
from meltguard.core.node_shape import NodeShape, released_shape, shape_at
from meltguard.core.pledged import pledged_pods
from meltguard.core.units import Epoch, Gpus, Instant, NodeName, PodUid, Seconds
from meltguard.errors import Conflict, Unavailable
from meltguard.ports import Census, Fleet, NodeMoves, PodWrites

Told = Callable[[PodView], None]


def _nobody(_: PodView) -> None:
    """Before anybody listens."""


@dataclass(slots=True)
class Cluster(Fleet, Census, NodeMoves, PodWrites):
    """All nodes with the pods on them, and the pods that wait for one."""

    nodes: dict[NodeName, NodeView] = field(default_factory=dict)
    pending: dict[PodUid, PodView] = field(default_factory=dict)
    budgets: Callable[[], tuple[Budget, ...]] = field(default=tuple)
    jobs: Callable[[], tuple[Job, ...]] = field(default=tuple)
    on_notice: Told = _nobody  # a pod was told to save its work
    on_eviction: Told = _nobody  # a pod was asked to leave: it is terminating from now on
    on_leave_first: Told = _nobody  # a serving pod on a node that goes home: the first to go as replicas fall
    version: int = 0  # grows with every change
    _seen: tuple[int, FleetView] | None = None

    @override
    def view(self) -> FleetView:
        """All of it, as it is."""
        if self._seen is None or self._seen[0] != self.version:
            nodes = tuple(self.nodes[name] for name in sorted(self.nodes))
            guards = Guards(budgets=self.budgets(), jobs=self.jobs(), pledged=pledged_pods(nodes))
            pending = tuple(self.pending.values())
            spaces = by_namespace(nodes, pending)
            view = FleetView(nodes=nodes, pending=pending, spaces=spaces, age=Seconds(0.0), guards=guards)
            self._seen = (self.version, view)
        return self._seen[1]

    @override
    async def fresh(self, node: NodeName) -> NodeView | None:
        """One node as it is."""
        return self.nodes.get(node)

    @override
    async def members(self, labels: Mapping[str, str]) -> tuple[NodeView, ...]:
        """The nodes that bear these labels, without their pods."""
        found = (node for node in self.view().nodes if labels.items() <= node.labels.items())
        return tuple(replace(node, pods=()) for node in found)

    @override
    async def guards(self, namespaces: frozenset[str]) -> Guards:
        """Budgets and Jobs of these namespaces."""
        return Guards(
            budgets=tuple(one for one in self.budgets() if one.namespace in namespaces),
            jobs=tuple(one for one in self.jobs() if one.namespace in namespaces),
        )

    @override
    async def enter(self, node: NodeView, claim: Claim, epoch: Epoch) -> None:
        """The node looks as the step says, and bears the claim."""
        del epoch
        present = self.nodes[node.name]
        self.put(replace(_shaped(present, shape_at(present, claim)), claim=claim))

    @override
    async def release(self, node: NodeView, claim: Claim, epoch: Epoch) -> None:
        """The node is as it was found."""
        del epoch
        present = self.nodes[node.name]
        self.put(replace(_shaped(present, released_shape(present, claim)), claim=None))

    @override
    async def annotate_pod(self, pod: PodView, annotations: Mapping[str, str | None]) -> None:
        """A notice, its withdrawal, or the mark of a serving pod that is to go first."""
        if NOTICE_ANNOTATION not in annotations:
            self.on_leave_first(pod)
            return
        self.change(
            pod,
            notice=annotations[NOTICE_ANNOTATION] or "",
            asked_at=_moment(annotations[ASKED_AT_ANNOTATION]),
            evict_after=_moment(annotations[EVICT_AFTER_ANNOTATION]),
        )
        if annotations[NOTICE_ANNOTATION] is not None:
            self.on_notice(pod)

    @override
    async def evict(self, pod: PodView) -> None:
        """A pod is asked to leave, if its budget allows it now. Raises Conflict, or Unavailable as the port says."""
        present = self.pod(pod)
        if present is None or present.terminating:
            return
        for budget in self.budgets():
            if is_meant(budget, present) and budget.allowed <= 0:
                raise Unavailable(f"disruption budget {budget.name} allows no eviction now")
        self.change(present, terminating=True)
        self.on_eviction(present)

    def put(self, node: NodeView) -> None:
        """A node is there, or is otherwise now."""
        self.nodes[node.name] = node
        self.version += 1

    def pod(self, pod: PodView) -> PodView | None:
        """The pod as it is; None where it is gone, or waits for a node."""
        node = self.nodes.get(pod.node)
        return next((one for one in node.pods if one.uid == pod.uid), None) if node else None

    def bind(self, pod: PodView, node: NodeName) -> PodView:
        """A pod starts on a node; the pod as it is there."""
        self.pending.pop(pod.uid, None)
        bound = replace(pod, node=node, running=True, stuck_since=None)
        there = self.nodes[node]
        self.put(replace(there, pods=(*there.pods, bound)))
        return bound

    def wait(self, pod: PodView, since: Instant) -> None:
        """No node has room for a pod."""
        self.pending[pod.uid] = replace(pod, node=NodeName(""), running=False, ready=False, stuck_since=since)
        self.version += 1

    def give_up(self, owner_uid: str) -> None:
        """The pods of an owner that wait for a node do not wait any more."""
        self.pending = {uid: pod for uid, pod in self.pending.items() if pod.owner_uid != owner_uid}
        self.version += 1

    def change(self, pod: PodView, **changes: Any) -> None:
        """Something about a bound pod is otherwise now. Raises Conflict where it is gone."""
        node = self.nodes[pod.node]
        if pod.uid not in {one.uid for one in node.pods}:
            raise Conflict(f"{pod.namespace}/{pod.name} is gone")
        changed = tuple(replace(one, **changes) if one.uid == pod.uid else one for one in node.pods)
        self.put(replace(node, pods=changed))

    def remove(self, pod: PodView) -> None:
        """A bound pod is gone."""
        node = self.nodes[pod.node]
        self.put(replace(node, pods=tuple(one for one in node.pods if one.uid != pod.uid)))


def bare_pod(namespace: str, name: str, gpus: Gpus) -> PodView:
    """A pod that has begun: whose it is and what is special about it is for its maker to say, with `replace`."""
    return PodView(
        namespace=namespace,
        name=name,
        uid=PodUid(f"{namespace}/{name}"),
        node=NodeName(""),
        labels={},
        ip="",
        running=True,
        ready=False,
        finished=False,
        terminating=False,
        gpus=gpus,
        owner_kind="",
        owner_name="",
        owner_uid="",
        gang="",
        mirror=False,
        resource_version="1",
        grace=Seconds(30.0),  # Kubernetes' own
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


def free_gpus(node: NodeView) -> int:
    """GPUs of a node that no pod has."""
    return node.gpus - sum(pod.gpus for pod in node.pods if not pod.finished)


def open_nodes(nodes: Iterable[NodeView], labels: Mapping[str, str]) -> list[NodeView]:
    """Where new pods of a pool's owner may start: its labels, Ready, not cordoned."""
    return [node for node in nodes if labels.items() <= node.labels.items() and node.ready and not node.unschedulable]


def _shaped(node: NodeView, shape: NodeShape) -> NodeView:
    return replace(
        node,
        labels=_merged(node.labels, shape.labels),
        annotations=_merged(node.annotations, shape.annotations),
        taints=shape.taints,
        unschedulable=shape.unschedulable,
    )


def _merged(present: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    merged = {**present, **changes}
    return {key: text for key, text in merged.items() if text is not None}


def _moment(text: str | None) -> Instant | None:
    return None if text is None else parse_rfc3339(text)
