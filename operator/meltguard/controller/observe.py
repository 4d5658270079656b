"""Gathers what one pass over a service must know."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

from meltguard.adapters.kubernetes_fleet import KubernetesFleet
from meltguard.api.bookings import plan_of
from meltguard.api.to_core import PolicyObject, PoolObject
from meltguard.api.windows import Timetable
from meltguard.controller.agents import AgentBook
from meltguard.controller.assigned import Assigned
from meltguard.controller.books import lent_by
from meltguard.controller.lost_claims import LostClaims
from meltguard.controller.purchases_seen import no_offer, on_offer, ordered_for, recalls_of
from meltguard.controller.resources import Resources
from meltguard.controller.rollouts import RolloutKeeper, SeenRollout
from meltguard.controller.workloads import Workloads, workload_ref
from meltguard.core.fleet import NodeView, PodView
from meltguard.core.metrics import MetricAnswer, MetricSample, is_possible
from meltguard.core.models import model_of
from meltguard.core.policy import Signal, SignalKind, SignalUse
from meltguard.core.pools import loans_of
from meltguard.core.seen import NO_PLAN, GpuClock, Hours, PodRevision, Reading, Snapshot, Workload
from meltguard.core.sick import sick_nodes, with_health
from meltguard.core.units import Instant, NodeName, PoolName, Seconds
from meltguard.core.wording import counted
from meltguard.ports import Clock, Metrics, Target

TEMPLATE_HASH: Final = "pod-template-hash"
COVERAGE = 0.8
"""Below this share of the service's nodes a platform metric is unknown."""


CLOCKS: Final = Signal(
    name="gpu-clock", kind=SignalKind.GPU_CLOCK, use=SignalUse.CONFIRM, calm=0.0, target=0.0, critical=0.0
)
"""Asked for beside a policy's own signals; it has no scale, for it never presses."""

XIDS: Final = replace(CLOCKS, name="gpu-xid", kind=SignalKind.GPU_XID)
"""The same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is asked for one service, beyond what is mirrored."""

    metrics: Metrics
    workloads: Workloads
    rollouts: RolloutKeeper
    clock: Clock
    lost: LostClaims


class Observer:
    """Reads what is mirrored, and asks the rest."""

    def __init__(self, resources: Resources, fleet: KubernetesFleet, outside: Surroundings) -> None:
        self._resources = resources
        self._fleet = fleet
        self._outside = outside
        self._timetable = Timetable()
        self._assigned = Assigned()

    def serving_pods(self, found: PolicyObject) -> tuple[PodView, ...]:
        """The service's pods that are bound, have an address and are not on their way out."""
        return tuple(pod for pod in self._pods(found) if _has_agent(pod) and pod.ready)

    def gpu_kinds(self, found: PolicyObject) -> frozenset[str]:
        """The resources that the service's pods ask for."""
        return _asked(self._pods(found))

    def _pods(self, found: PolicyObject) -> list[PodView]:
        every = self._fleet.view().pods_of(found.policy.namespace, found.service.selector)
        return [pod for pod in every if not pod.terminating]

    def _with_its_pods(self, seen: Snapshot, found: PolicyObject) -> Snapshot:
        """What the service's own pods say by now, Ready or not."""
        pods = self._pods(found)
        labels = {node.name: node.labels for node in self._fleet.view().nodes}
        return replace(
            seen,
            started={pod.uid: pod.started_at for pod in pods if pod.started_at is not None},
            gpu_kinds=_asked(pods),
            models={pod.uid: model_of(labels[pod.node], pod.gpu_kinds) for pod in pods if pod.node in labels},
            priority=max((pod.priority for pod in pods), default=0),
            revisions={
                pod.uid: PodRevision(revision=pod.labels[TEMPLATE_HASH], replica_set=pod.owner_name, ready=pod.ready)
                for pod in pods
                if TEMPLATE_HASH in pod.labels
            },
        )

    def loans(self, found: PolicyObject) -> tuple[NodeView, ...]:
        """The nodes that are claimed for the service."""
        return loans_of(found.policy.uid, self._outside.lost.counted(self._fleet.view().nodes))

    async def observe(self, found: PolicyObject, book: AgentBook) -> tuple[Snapshot, SeenRollout]:
        """One service now, and its rollout as it was read.

        Never raises for what the outside does: what is not known is said to be unknown.
        """
        policy = found.policy
        view = self._fleet.view()
        pods, unready, nodes = self._follow(found, book)
        every = self._outside.lost.counted(view.nodes)
        loans = loans_of(policy.uid, every)
        found_pools = [one for one in self._resources.pools() if not one.deleting]
        now = self._outside.clock.now()
        readings, clocks, sick, workload, rollout = await asyncio.gather(
            self._readings(found, nodes),
            self._clocks(found, nodes),
            self._sick(found),
            self._workload(found, loans),
            self._rollout(found),
        )
        seen = Snapshot(
            ready_pods=pods,
            loads=book.loads(),
            unready_pods=unready,
            unready=book.unready_loads(),
            readings=readings,
            clocks=clocks,
            pools=self._assigned.of([one.pool for one in found_pools], with_health(every, sick)),
            loans=loans,
            namespace_labels=self._resources.namespace_labels(policy.namespace),
            workload=workload,
            fleet_age=view.age,
            guards=view.guards,
            pending=tuple(pod for pod in view.pending if pod.gpus > 0 and not pod.finished and not pod.terminating),
            recalls=recalls_of(found_pools, now),
            on_order=ordered_for(policy.uid, found_pools),
            on_offer=on_offer(found_pools),
            no_offer=no_offer(found_pools, now),
            lent_lately=lent_by(found_pools, now),
            hours=self._hours(found_pools, now),
            plan=plan_of(policy.capacity.calendar, self._timetable, now) if policy.capacity else NO_PLAN,
            rollout=rollout.view,
            rollout_problem=rollout.problem,
        )
        return self._with_its_pods(seen, found), rollout

    def _follow(self, found: PolicyObject, book: AgentBook) -> tuple[int, int, frozenset[NodeName]]:
        """How many pods are Ready, how many run without being so, and the nodes on which they work.

        A pod with more work than it can do may fail its readiness: its users are heard all the same.
        """
        port, pods = found.service.agent_port, [pod for pod in self._pods(found) if _has_agent(pod)]
        ready, unready = [pod for pod in pods if pod.ready], [pod for pod in pods if not pod.ready]
        book.follow(
            [(_target(pod, port), pod.node) for pod in ready], [(_target(pod, port), pod.node) for pod in unready]
        )
        at_work = frozenset(load.node for load in book.unready_loads() if load.at_work)
        return len(ready), len(unready), at_work | {pod.node for pod in ready}

    def _hours(self, pools: Iterable[PoolObject], now: Instant) -> dict[PoolName, Hours]:
        """When each lender lends."""
        lenders = ((one.pool.name, one.pool.lending) for one in pools)
        return {name: self._timetable.hours(lending.windows, now) for name, lending in lenders if lending is not None}

    def version(self) -> int:
        """Grows with every change of nodes or pods."""
        return self._fleet.changes.version

    async def _readings(self, found: PolicyObject, nodes: frozenset[NodeName]) -> tuple[Reading, ...]:
        signals = [signal for signal in found.policy.signals if signal.kind is not SignalKind.AGENT_WAIT]
        source = found.service.metric_source
        answers = await asyncio.gather(*(self._outside.metrics.read(source, signal) for signal in signals))
        return tuple(reading_of(signal, answer, nodes) for signal, answer in zip(signals, answers, strict=True))

    async def _clocks(self, found: PolicyObject, nodes: frozenset[NodeName]) -> tuple[GpuClock, ...]:
        if not _looks_at_gpus(found):
            return ()
        answer = await self._outside.metrics.read(found.service.metric_source, CLOCKS)
        return () if answer.problem else clocks_of(answer.samples, nodes, found.policy.stale_after)

    async def _sick(self, found: PolicyObject) -> Mapping[NodeName, str]:
        """Of all nodes that the source knows: what is not lent is another team's."""
        if found.policy.capacity is None or not _looks_at_gpus(found):
            return {}
        answer = await self._outside.metrics.read(found.service.metric_source, XIDS)
        return {} if answer.problem else sick_nodes(answer.samples, found.policy.stale_after)

    async def _workload(self, found: PolicyObject, loans: Sequence[NodeView]) -> Workload | None:
        """Asked for only where its replicas follow: while nodes are lent, and until it is as it was found."""
        if not loans and found.status.replicas_found is None:
            return None
        return await self._outside.workloads.lately(found)

    async def _rollout(self, found: PolicyObject) -> SeenRollout:
        if found.policy.hold_at is None:
            return SeenRollout(read=None)
        return await self._outside.rollouts.look(workload_ref(found))


def _looks_at_gpus(found: PolicyObject) -> bool:
    """Clocks and errors are asked for where the policy looks at its GPUs: the same exporter tells all of them."""
    kinds = {signal.kind for signal in found.policy.signals}
    return SignalKind.GPU_TEMPERATURE in kinds or SignalKind.GPU_UTILIZATION in kinds


def _asked(pods: Iterable[PodView]) -> frozenset[str]:
    return frozenset().union(*(pod.gpu_kinds for pod in pods))


def _has_agent(pod: PodView) -> bool:
    """Whether it is bound, has an address and runs."""
    return bool(pod.node and pod.ip and pod.running)


def _target(pod: PodView, port: int) -> Target:
    return Target(pod=pod.uid, name=f"{pod.namespace}/{pod.name}", address=pod.ip, port=port)


def clocks_of(
    samples: Iterable[MetricSample], nodes: frozenset[NodeName], stale_after: Seconds
) -> tuple[GpuClock, ...]:
    """The fresh clocks of the service's GPUs."""
    return tuple(
        GpuClock(node=sample.node, model=sample.model, value=sample.value)
        for sample in samples
        if sample.node is not None and sample.node in nodes and sample.age <= stale_after
    )


def reading_of(signal: Signal, answer: MetricAnswer, nodes: frozenset[NodeName]) -> Reading:
    """A platform signal over the nodes that run the service: its hottest GPU, or the mean of its utilization.

    Coverage under 80 % of those nodes is unknown, and so is a service without nodes.
    """
    if answer.problem:
        return _unknown(signal, answer.problem)
    if signal.kind is SignalKind.QUERY:
        return _of_samples(signal, answer.samples)
    every = [sample for sample in answer.samples if sample.node in nodes]
    ours = [sample for sample in every if is_possible(signal.kind, sample.value)]
    covered = {sample.node for sample in ours}
    if not nodes:
        return _unknown(signal, "no serving pod is Ready, so there is no GPU to measure")
    if len(covered) < COVERAGE * len(nodes):
        impossible = len(every) - len(ours)
        lies = counted(impossible, "sample is no possible value", "samples are no possible values")
        text = f"{len(covered)} of the service's {len(nodes)} nodes have samples" + (f" ({lies})" if impossible else "")
        return _unknown(signal, f"{text}; check the GPU exporter and its labels")
    return _of_samples(signal, ours)


def _of_samples(signal: Signal, samples: Sequence[MetricSample]) -> Reading:
    if not samples:
        return _unknown(signal, "the query found nothing; check the metric's name and labels")
    values = [sample.value for sample in samples]
    value = sum(values) / len(values) if signal.kind is SignalKind.GPU_UTILIZATION else max(values)
    oldest = max(sample.age for sample in samples)
    by_node = _means(samples) if signal.kind is SignalKind.GPU_UTILIZATION else _hottest(samples)
    return Reading(signal=signal.name, value=value, age=oldest, by_node=by_node)


def _means(samples: Sequence[MetricSample]) -> dict[NodeName, float]:
    """Each node's mean value."""
    values: defaultdict[NodeName, list[float]] = defaultdict(list)
    for sample in samples:
        if sample.node is not None:
            values[sample.node].append(sample.value)
    return {node: fmean(found) for node, found in values.items()}


def _hottest(samples: Sequence[MetricSample]) -> dict[NodeName, float]:
    """Each node's highest value."""
    values: dict[NodeName, float] = {}
    for sample in samples:
        if sample.node is not None:
            values[sample.node] = max(sample.value, values.get(sample.node, sample.value))
    return values


def _unknown(signal: Signal, problem: str) -> Reading:
    return Reading(signal=signal.name, value=None, age=Seconds(0.0), problem=problem)
