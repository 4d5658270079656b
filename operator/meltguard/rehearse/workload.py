"""The service's pods: as many as its workload wants, where there is room; each loads its model before it serves."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from meltguard.core.fleet import NodeView, PodView
from meltguard.core.policy import Policy, Pool, ReplicaWriter
from meltguard.core.seen import Workload
from meltguard.core.units import Instant, PodUid, Seconds
from meltguard.rehearse.clock import RehearsedClock
from meltguard.rehearse.cluster import Cluster, bare_pod, free_gpus, open_nodes
from meltguard.sim.lenders import Stage

LOOK: Final = Seconds(1.0)
"""How often a pod that is leaving is asked whether its last image is done."""

OWNER: Final = "workload"


@dataclass(slots=True)
class ServicePods:
    """All pods of the service, and the number that is wanted."""

    policy: Policy
    taker: Pool
    cluster: Cluster
    clock: RehearsedClock
    load: Callable[[], Seconds]  # of the next pod's model
    has_workload: bool  # whether the policy names one whose replicas may be set
    replicas: int = 0
    leaving_first: set[PodUid] = field(default_factory=set)
    _made: int = 0
    _stage: Stage | None = None

    def begin(self, stage: Stage) -> None:
        """The service's own nodes serve already."""
        self._stage = stage
        for node in self._nodes():
            for _ in range(free_gpus(node) // self.policy.gpus_per_pod):
                self._ready(self._start(node))
        self.replicas = sum(1 for _ in self.pods())

    @property
    def ours(self) -> bool:
        """Whether replicas follow decisions; else somebody else's autoscaler fills whatever is open."""
        capacity = self.policy.capacity
        return self.has_workload and capacity is not None and capacity.replicas is ReplicaWriter.MELTGUARD

    def workload(self) -> Workload | None:
        """As it is read from the API server."""
        return Workload(replicas=self.replicas) if self.ours else None

    def pods(self) -> Iterator[PodView]:
        """All that are bound."""
        return (pod for node in self.cluster.nodes.values() for pod in node.pods if pod.owner_uid == OWNER)

    def started(self) -> dict[PodUid, Instant]:
        """When each that is not leaving began."""
        return {pod.uid: pod.started_at for pod in self.pods() if not pod.terminating and pod.started_at is not None}

    def unready(self) -> int:
        """That still load."""
        return sum(not pod.ready and not pod.terminating for pod in self.pods())

    def settle(self) -> None:
        """As many pods as are wanted: the marked and the youngest go first, new ones start where there is room."""
        staying = [pod for pod in self.pods() if not pod.terminating]
        wanted = self.replicas if self.ours else math.inf
        if len(staying) > wanted:
            staying.sort(key=self._goes_first)
            for pod in staying[: len(staying) - int(wanted)]:
                self.leave(pod)
        elif len(staying) < wanted:
            self._fill(wanted - len(staying))

    def leave(self, pod: PodView) -> None:
        """A pod takes no more requests; it goes once its last image is done."""
        present = self.cluster.pod(pod)
        if present is None:
            return
        self.cluster.change(present, terminating=True, ready=False)
        if self._stage is not None and present.ready:
            self._stage.close(pod.uid, self.clock.at)
        self._see_off(present)

    def evicted(self, pod: PodView) -> bool:
        """The mover asked a serving pod to go; False where it is none."""
        if pod.owner_uid != OWNER:
            return False
        self.leave(pod)
        return True

    def _goes_first(self, pod: PodView) -> tuple[bool, float, str]:
        return (pod.uid not in self.leaving_first, -(pod.started_at or 0.0), pod.uid)

    def _nodes(self) -> list[NodeView]:
        return open_nodes(self.cluster.view().nodes, self.taker.labels)

    def _fill(self, missing: float) -> None:
        for node in self._nodes():
            while missing >= 1 and free_gpus(self.cluster.nodes[node.name]) >= self.policy.gpus_per_pod:
                pod = self._start(node)
                self._at(self.load(), pod, self._ready)
                missing -= 1

    def _start(self, node: NodeView) -> PodView:
        self._made += 1
        name = f"{self.policy.name}-{self._made}"
        return self.cluster.bind(_a_pod(self.policy, name, self.clock.now()), node.name)

    def _ready(self, pod: PodView) -> None:
        present = self.cluster.pod(pod)
        if present is None or present.terminating or self._stage is None:
            return
        self.cluster.change(present, ready=True)
        self._stage.open(pod.uid, pod.node, self.clock.at)

    def _see_off(self, pod: PodView) -> None:
        """`pod` is as it was when it was told to go: one that was not Ready never served."""
        if self._stage is None:
            return
        if pod.ready and not self._stage.is_idle(pod.uid):
            self._at(LOOK, pod, self._see_off)
            return
        if pod.ready:
            self._stage.remove(pod.uid)
        self.leaving_first.discard(pod.uid)
        present = self.cluster.pod(pod)
        if present is not None:
            self.cluster.remove(present)

    def _at(self, delay: Seconds, pod: PodView, happens: Callable[[PodView], None]) -> None:
        if self._stage is not None:
            self._stage.at(Seconds(self.clock.at + delay), lambda _: happens(pod))


def _a_pod(policy: Policy, name: str, now: Instant) -> PodView:
    return replace(
        bare_pod(policy.namespace, name, policy.gpus_per_pod),
        labels={"app": policy.name},
        ip="127.0.0.1",
        owner_kind="ReplicaSet",
        owner_name=policy.name,
        owner_uid=OWNER,
        started_at=now,
    )
