"""Follows every node's claims while an operator works, and compares the nodes before with the nodes after."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from bench.scale_fleet import ASKED, FLOOR, LENDERS, listed
from faults.rest import Admin
from meltguard.adapters.kubernetes_client import WatchEnd
from meltguard.core.units import Seconds

NODES: Final = "/api/v1/nodes"
CLAIM: Final = "meltguard.io/loan"
EPOCH: Final = "meltguard.io/epoch"
OTHERS: Final = frozenset({EPOCH, "node.alpha.kubernetes.io/ttl"})
"""Annotations that are not compared: the last epoch stays on a node, and a controller of Kubernetes sets the other."""

FOR_LONG: Final = WatchEnd(after=Seconds(3000.0), silence=Seconds(3000.0))


class Claim(msgspec.Struct, frozen=True, rename="camel"):
    """What a claim says, read by nothing of the operator's."""

    step: str
    home: str
    policy: str


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """A node's metadata, as far as it is looked at."""

    name: str
    annotations: dict[str, str] = {}


class Node(msgspec.Struct, frozen=True):
    """A node in a watch event."""

    metadata: Meta


class Event(msgspec.Struct, frozen=True):
    """A line of a watch."""

    type: str
    object: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A claim was seen at a step for the first time; `step` is Released when it is off."""

    at: float  # on the clock that never jumps
    node: str
    step: str
    home: str
    policy: str


@dataclass(slots=True)
class Trail:
    """All steps of all claims, and whether any bound was passed."""

    members: Mapping[str, int]  # nodes of each lender
    claims: dict[str, Claim] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    most: Counter[str] = field(default_factory=Counter)  # claims at a time, by lender and by policy
    over: list[str] = field(default_factory=list)  # bounds that were passed

    async def follow(self, admin: Admin, version: str) -> None:
        """Watch from a resourceVersion on, until cancelled. Raises Unavailable where the watch breaks."""
        query = {"resourceVersion": version}
        async with aclosing(admin.api.watch(NODES, query, FOR_LONG)) as batches:
            async for lines in batches:
                for line in lines:
                    self.take(msgspec.json.decode(line, type=Event))

    def take(self, event: Event) -> None:
        """One event of one node."""
        name, text = event.object.metadata.name, event.object.metadata.annotations.get(CLAIM)
        claim = None if text is None else msgspec.json.decode(text, type=Claim)
        before = self.claims.get(name)
        if claim is not None:
            self.claims[name] = claim
        elif before is not None:
            del self.claims[name]
        shown = claim or before
        if shown is None or claim == before:
            return
        step = claim.step if claim is not None else "Released"
        self.steps.append(Step(at=time.monotonic(), node=name, step=step, home=shown.home, policy=shown.policy))
        self._judge()

    def _judge(self) -> None:
        for kind, counts, bounds in self._counted():
            for name, count in counts.items():
                self.most[name] = max(self.most[name], count)
                if count > bounds.get(name, ASKED):
                    self.over.append(f"{count} loans at a time of {kind} {name}")
        for home, count in Counter(claim.home for claim in self.claims.values()).items():
            if self.members[home] - count < FLOOR:
                self.over.append(f"{self.members[home] - count} nodes left at {home}, its floor is {FLOOR}")

    def _counted(self) -> Iterator[tuple[str, Counter[str], Mapping[str, int]]]:
        yield "pool", Counter(claim.home for claim in self.claims.values()), LENDERS
        yield "policy", Counter(claim.policy for claim in self.claims.values()), {}

    def at(self, step: str) -> list[str]:
        """Nodes whose claims are at a step now."""
        return [name for name, claim in self.claims.items() if claim.step == step]

    def first(self, step: str, since: float) -> float | None:
        """Seconds from `since` to the first claim that came to a step; None where none did."""
        return min((one.at - since for one in self.steps if one.step == step and one.at >= since), default=None)

    def last(self, step: str, since: float) -> float | None:
        """The same of the last one."""
        return max((one.at - since for one in self.steps if one.step == step and one.at >= since), default=None)


async def whole_nodes(admin: Admin) -> dict[str, bytes]:
    """By name, all that a loan touches of a node, as bytes: labels, others' annotations and the spec."""
    return {one["metadata"]["name"]: _whole(one) for one in await listed(admin, NODES)}


def _whole(node: dict[str, Any]) -> bytes:
    meta = node["metadata"]
    notes = {key: value for key, value in meta.get("annotations", {}).items() if key not in OTHERS}
    return msgspec.json.encode([meta["uid"], meta.get("labels"), notes, node["spec"]])
