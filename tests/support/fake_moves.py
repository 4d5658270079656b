"""Fakes of what the mover writes through: nodes, pods, Events, books. All over one FakeFleet."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from meltguard.adapters.event_shape import EventRecord, PostedEvent
from meltguard.api.claim import write_claim
from meltguard.api.to_core import PolicyObject, PoolObject
from meltguard.core.fleet import (
    ASKED_AT_ANNOTATION,
    CLAIM_ANNOTATION,
    EPOCH_ANNOTATION,
    EVICT_AFTER_ANNOTATION,
    NOTICE_ANNOTATION,
    Claim,
    MoveStep,
    NodeView,
    PodView,
)
from meltguard.core.node_shape import NodeShape, released_shape, shape_at
from meltguard.core.units import Epoch, Instant, NodeName, PodUid
from meltguard.errors import Conflict, Fenced, Unavailable
from support.fakes import FakeFleet


@dataclass
class Line:
    """The way to the API server. It breaks at chosen writes: before they are taken, or after, the answer lost."""

    breaks_at: frozenset[int] = frozenset()
    after: bool = False
    writes: int = 0

    @contextmanager
    def write(self) -> Iterator[None]:
        """Around one write."""
        self.writes += 1
        broken = self.writes in self.breaks_at
        if broken and not self.after:
            raise Unavailable("no answer")
        yield
        if broken:
            raise Unavailable("the answer was lost")


@dataclass
class FakeMoves:
    """Writes claims onto the fleet's nodes as the API server would take them; `bugs` raise at one node."""

    fleet: FakeFleet
    line: Line = field(default_factory=Line)
    bugs: dict[NodeName, Exception] = field(default_factory=dict)
    steps: list[tuple[NodeName, str]] = field(default_factory=list)

    async def enter(self, node: NodeView, claim: Claim, epoch: Epoch) -> None:
        """As the port says."""
        with self.line.write():
            fresh = claim.step is MoveStep.CLAIMED or CLAIM_ANNOTATION not in node.annotations
            present = await self._tested(node, epoch, fresh=fresh)
            shaped = _shaped(present, node, shape_at(node, claim))
            marks = {CLAIM_ANNOTATION: write_claim(claim), EPOCH_ANNOTATION: str(epoch)}
            self.fleet.put(replace(shaped, claim=claim, annotations={**shaped.annotations, **marks}))
            self.steps.append((node.name, claim.step.value))

    async def release(self, node: NodeView, claim: Claim, epoch: Epoch) -> None:
        """As the port says."""
        with self.line.write():
            shaped = _shaped(await self._tested(node, epoch, fresh=False), node, released_shape(node, claim))
            left = {key: text for key, text in shaped.annotations.items() if key != CLAIM_ANNOTATION}
            self.fleet.put(replace(shaped, claim=None, annotations={**left, EPOCH_ANNOTATION: str(epoch)}))
            self.steps.append((node.name, "Released"))

    async def _tested(self, node: NodeView, epoch: Epoch, *, fresh: bool) -> NodeView:
        await asyncio.sleep(0)
        if node.name in self.bugs:
            raise self.bugs[node.name]
        present = self.fleet.nodes.get(node.name)
        if present is None or present.uid != node.uid:
            raise Conflict(f"node {node.name} is another one")
        held = present.annotations.get(CLAIM_ANNOTATION)
        if held != (None if fresh else node.annotations.get(CLAIM_ANNOTATION)):
            raise Conflict(f"node {node.name} bears another claim than was read")
        if int(present.annotations.get(EPOCH_ANNOTATION, "0")) > epoch:
            raise Fenced(f"node {node.name} was written by a later leader")
        return present


def _shaped(present: NodeView, read: NodeView, shape: NodeShape) -> NodeView:
    """What the patch makes of the node: it says only what differs from what was read."""
    taints, cordon = shape.taints != read.taints, shape.unschedulable != read.unschedulable
    if taints and present.taints != read.taints:
        raise Conflict(f"node {read.name} has other taints than were read")
    return replace(
        present,
        labels=_merged(present.labels, read.labels, shape.labels),
        annotations=_merged(present.annotations, read.annotations, shape.annotations),
        taints=shape.taints if taints else present.taints,
        unschedulable=shape.unschedulable if cordon else present.unschedulable,
    )


def _merged(present: Mapping[str, str], read: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    merged = {**present, **{key: text for key, text in changes.items() if read.get(key) != text}}
    return {key: text for key, text in merged.items() if text is not None}


@dataclass
class FakePods:
    """Writes to the fleet's pods. `shut` names pods whose budget allows nothing; evicted ones are terminating."""

    fleet: FakeFleet
    line: Line = field(default_factory=Line)
    shut: set[str] = field(default_factory=set)
    evicted: list[str] = field(default_factory=list)

    async def annotate_pod(self, pod: PodView, annotations: Mapping[str, str | None]) -> None:
        """As the port says."""
        await asyncio.sleep(0)
        changes: dict[str, Any] = {}
        if NOTICE_ANNOTATION in annotations:
            changes["notice"] = annotations[NOTICE_ANNOTATION] or ""
            changes["asked_at"] = _moment(annotations[ASKED_AT_ANNOTATION])
            changes["evict_after"] = _moment(annotations[EVICT_AFTER_ANNOTATION])
        with self.line.write():
            self._change(pod, **changes)

    async def evict(self, pod: PodView) -> None:
        """As the port says."""
        await asyncio.sleep(0)
        if pod.name in self.shut:
            raise Unavailable(f"budget of {pod.name} allows no eviction now")
        with self.line.write():
            self._change(pod, terminating=True)
            self.evicted.append(pod.name)

    def end(self) -> None:
        """Every terminating pod is gone."""
        for node in self.fleet.nodes.values():
            self.fleet.put(replace(node, pods=tuple(pod for pod in node.pods if not pod.terminating)))

    def _change(self, pod: PodView, **changes: Any) -> None:
        node = self.fleet.nodes[pod.node]
        if pod.uid not in {one.uid for one in node.pods}:
            raise Conflict(f"{pod.name} is another pod by now")
        self.fleet.put(replace(node, pods=tuple(_if(one, pod.uid, changes) for one in node.pods)))


def _if(pod: PodView, uid: PodUid, changes: dict[str, Any]) -> PodView:
    return replace(pod, **changes) if pod.uid == uid else pod


def _moment(text: str | None) -> Instant | None:
    return None if text is None else Instant(datetime.fromisoformat(text).timestamp())


@dataclass
class FakeBooks:
    """Loans that were written down; `busy` so many times before one is."""

    busy: int = 0
    closed: list[str] = field(default_factory=list)
    moves: set[str] = field(default_factory=set)  # whose end is written down

    async def close(self, node: NodeView, claim: Claim) -> None:
        """As the mover expects."""
        await asyncio.sleep(0)
        if self.busy:
            self.busy -= 1
            raise Conflict("the GPUPool was written meanwhile")
        if claim.move_id not in self.moves:
            self.moves.add(claim.move_id)
            self.closed.append(f"{node.name} {claim.step}")


@dataclass
class FakePosts:
    """Events that were said: (reason, object, message)."""

    said: list[tuple[str, str, str]] = field(default_factory=list)

    async def post_event(self, record: EventRecord, previous: PostedEvent | None = None) -> PostedEvent:
        """As the log expects."""
        await asyncio.sleep(0)
        self.said.append((record.reason, record.regarding.name, record.message))
        return PostedEvent(namespace="default", name=f"e{len(self.said)}", count=previous.count + 1 if previous else 1)


@dataclass
class FakeResources:
    """What people ask for."""

    asked: dict[str, PolicyObject] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)  # uids of policies that are there, read or not
    lent: tuple[PoolObject, ...] = ()

    def policies(self) -> dict[str, PolicyObject]:
        """By uid."""
        return self.asked

    def policy_exists(self, uid: str) -> bool:
        """Whether it is there."""
        return uid in self.asked or uid in self.known

    def pools(self) -> tuple[PoolObject, ...]:
        """All."""
        return self.lent
