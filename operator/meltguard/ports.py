"""What the controller needs from outside, in its own words: adapters implement these, tests stand fakes behind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from meltguard.core.fleet import Claim, FleetView, Guards, NodeView, PodView
from meltguard.core.grant import Grant
from meltguard.core.lent_quota import Quota
from meltguard.core.load import AgentCounters
from meltguard.core.metrics import MetricAnswer
from meltguard.core.policy import Signal
from meltguard.core.purchases import Scale
from meltguard.core.quota_ref import QuotaRef
from meltguard.core.scaling import Removal, Scaling
from meltguard.core.units import Epoch, Instant, NodeName, PodUid, Seconds


class Clock(Protocol):
    """The two clocks: the time of day, and one that never jumps."""

    def now(self) -> Instant:
        """Seconds since the epoch, UTC."""
        ...

    def elapsed(self) -> Seconds:
        """Only differences mean anything."""
        ...


class Metrics(Protocol):
    """Reads platform metrics with the age of each sample."""

    async def read(self, source: str, signal: Signal) -> MetricAnswer:
        """Never raises for what the source does: a failure is an answer with a problem."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadScale:
    """A provider's object, as read."""

    scale: Scale
    version: str  # resourceVersion


class Fleet(Protocol):
    """Nodes and pods."""

    def view(self) -> FleetView:
        """The cluster as the watch last saw it: a hint."""
        ...

    async def fresh(self, node: NodeName) -> NodeView | None:
        """One node and its pods, read anew with a quorum; None where it is gone.

        Raises:
            Unavailable: the API server did not answer.
        """
        ...

    async def guards(self, namespaces: frozenset[str]) -> Guards:
        """Budgets and Jobs of these namespaces, read anew with a quorum; nothing is pledged. Raises as `fresh`."""
        ...


class Census(Protocol):
    """Counts nodes."""

    async def members(self, labels: Mapping[str, str]) -> tuple[NodeView, ...]:
        """The nodes that carry these labels (none: every node), without their pods, read anew with a quorum.

        Raises:
            Unavailable: the API server did not answer.
        """
        ...


class NodeMoves(Protocol):
    """Takes one step of a node's move. Every call is safe to repeat."""

    async def enter(self, node: NodeView, claim: Claim, epoch: Epoch) -> None:
        """Write the claim with its new step, and that step's effect, in one request that tests what it builds on.

        Raises:
            Conflict: the node is not as it was read; read it again.
            Fenced: another leader has taken over.
            Unavailable: the API server did not answer; the write may or may not have happened.
        """
        ...

    async def release(self, node: NodeView, claim: Claim, epoch: Epoch) -> None:
        """Put other owners' marks back and remove the claim, in one request. Raises as `enter` does."""
        ...


class Providers(Protocol):
    """The objects that make pools larger."""

    async def read(self, scaling: Scaling) -> ReadScale:
        """What one of them says now.

        Raises:
            InvalidInput: there is no such object, or it cannot be scaled; the text names the next step.
            Unavailable: the API server did not answer, or does not let us.
        """
        ...

    async def scale(self, scaling: Scaling, replicas: int, read: ReadScale) -> None:
        """Ask for this many replicas, if the object is still as it was read.

        Raises:
            Conflict: it has changed since; read it again. InvalidInput, Unavailable: as `read`.
        """
        ...


class Departures(Protocol):
    """Tells a provider which of its nodes is to go. Both calls are safe to repeat."""

    async def mark(self, node: NodeView, order: str, removal: Removal, epoch: Epoch) -> None:
        """Cordon the node and mark it with its order, if nobody has claimed or cordoned it since it was read.

        Raises:
            Conflict: it is not as it was read; read it again.
            Fenced: another leader has taken over.
            InvalidInput: its provider cannot be told; the text says why.
            Unavailable: the API server did not answer.
        """
        ...

    async def unmark(self, node: NodeView, removal: Removal, epoch: Epoch) -> None:
        """Take the mark off, and the cordon that came with it. Raises as `mark`."""
        ...


class ClusterQueues(Protocol):
    """Kueue's quotas: numbers that count nodes, and our mark beside them."""

    async def read(self, ref: QuotaRef) -> Quota:
        """One number, and what we did to it.

        Raises:
            InvalidInput: no such number, or it is not whole, or our mark cannot be read; the text says what to do.
            Unavailable: the API server did not answer, or does not let us.
        """
        ...

    async def write(self, ref: QuotaRef, quota: Quota, read: Quota) -> None:
        """Set number and mark in one request, if both are still as they were read.

        Raises:
            Conflict: they are not; read them again. InvalidInput, Unavailable: as `read`.
        """
        ...

    async def marked(self, cluster_queue: str) -> tuple[QuotaRef, ...]:
        """The numbers of a ClusterQueue that bear our mark; none where there is no such queue. Raises as `read`."""
        ...


class PodWrites(Protocol):
    """What may be done to a pod: exactly to the one that was read."""

    async def annotate_pod(self, pod: PodView, annotations: Mapping[str, str | None]) -> None:
        """Set annotations; None removes one.

        Raises:
            Conflict: it is another pod by now.
            Unavailable: the API server did not answer.
        """
        ...

    async def evict(self, pod: PodView) -> None:
        """Ask a pod to leave, through the Eviction API. A pod that is gone is no error.

        Raises:
            Conflict: it is another pod, or has changed, since it was read.
            Unavailable: a disruption budget forbids it now; the text names the budget.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One serving pod's agent."""

    pod: PodUid
    name: str  # namespace/name, for people
    address: str  # IP
    port: int


class LimitSink(Protocol):
    """The agents of the serving pods."""

    async def push(self, target: Target, grant: Grant) -> AgentCounters:
        """Hand a pod its limits; the answer says what it now enforces.

        Raises:
            Unavailable: no answer in time.
            InvalidInput: the agent refused the document; the text says why.
        """
        ...

    async def read(self, target: Target, after: int) -> AgentCounters:
        """The agent's counters; the agent may hold the answer until its sequence exceeds `after`. Raises as `push`."""
        ...
