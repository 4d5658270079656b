"""What the process shares, and the loops of one term that are made of it."""

from dataclasses import dataclass, field

from meltguard.adapters.agent_push import AgentPush
from meltguard.adapters.kubernetes_autoscalers import KubernetesAutoscalers
from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_departures import KubernetesDepartures
from meltguard.adapters.kubernetes_fleet import KubernetesFleet
from meltguard.adapters.kubernetes_moves import KubernetesMoves
from meltguard.adapters.kubernetes_objects import KubernetesObjects
from meltguard.adapters.kubernetes_providers import KubernetesProviders
from meltguard.adapters.kubernetes_queues import KubernetesQueues
from meltguard.adapters.kubernetes_rollouts import KubernetesRollouts
from meltguard.adapters.prometheus import PrometheusMetrics
from meltguard.adapters.recent import Recent
from meltguard.controller.board import Board
from meltguard.controller.buyer import Buyer
from meltguard.controller.claimer import Claimer
from meltguard.controller.events import EventLog
from meltguard.controller.leavers import Leavers
from meltguard.controller.ledger import Ledger
from meltguard.controller.loops import HolderLoops
from meltguard.controller.lost_claims import LostClaims
from meltguard.controller.mover import Mover
from meltguard.controller.observe import Observer, Surroundings
from meltguard.controller.order_books import OrderBooks
from meltguard.controller.pools_status import PoolReporter
from meltguard.controller.quota_keeper import LentQuotas, QuotaKeeper
from meltguard.controller.resources import Resources
from meltguard.controller.rollouts import RolloutKeeper
from meltguard.controller.service import Means
from meltguard.controller.settings import OperatorSettings
from meltguard.controller.supervisor import Supervisor
from meltguard.controller.telemetry import Telemetry
from meltguard.controller.workloads import Workloads
from meltguard.core.units import Epoch, Seconds
from meltguard.ports import Clock

FLEET_DEAD = Seconds(180.0)
"""A mirror that has been silent for this long will not come back by itself: liveness fails, the pod restarts."""


@dataclass(slots=True)
class Process:
    """What the whole process shares."""

    settings: OperatorSettings
    api: KubernetesApi
    clock: Clock
    telemetry: Telemetry
    fleet: KubernetesFleet
    resources: Resources
    supervisor: Supervisor
    synced: bool = field(default=False)

    def unhealthy(self) -> tuple[str, ...]:
        """What liveness says: dead loops, dead mirrors."""
        dead = [f"loop {name} is silent" for name in self.supervisor.dead()]
        age = max(self.fleet.age, self.resources.age)
        if self.synced and age > FLEET_DEAD:
            dead.append(f"the watch has been silent for {age:.0f} s")
        return tuple(dead)

    def unready(self) -> tuple[str, ...]:
        """What readiness says: a standby is ready too, once it sees the cluster."""
        return () if self.synced else ("nodes, pods and policies are not read yet",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """What all loops of one term write with, and what they tell each other."""

    process: Process
    api: KubernetesApi  # fenced: it writes while the Lease is held
    epoch: Epoch
    objects: KubernetesObjects
    events: EventLog
    board: Board
    lost: LostClaims
    rollouts: RolloutKeeper
    workloads: Workloads


def build_loops(
    process: Process, api: KubernetesApi, outside: tuple[AgentPush, PrometheusMetrics], epoch: Epoch
) -> HolderLoops:
    """Wire the holder's loops: the only place that joins them to adapters."""
    sink, metrics = outside
    term = _term(process, api, epoch)
    means = Means(
        observer=_observer(term, metrics),
        rollouts=term.rollouts,
        workloads=term.workloads,
        objects=term.objects,
        sink=sink,
        events=term.events,
        telemetry=process.telemetry,
        clock=process.clock,
        board=term.board,
        key=process.settings.keys[0],
        epoch=epoch,
    )
    quotas = LentQuotas(KubernetesQueues(api), known=set(process.settings.config.cluster_queues))
    return HolderLoops(
        means=means,
        resources=process.resources,
        fleet=process.fleet,
        mover=_mover(term),
        pools=_reporter(term, quotas),
        buyer=_buyer(term),
        quotas=_quota_keeper(term, quotas),
        supervisor=process.supervisor,
        tick=process.settings.tick,
        moves_every=process.settings.moves_every,
    )


def _term(process: Process, api: KubernetesApi, epoch: Epoch) -> Term:
    objects, lost = KubernetesObjects(api, process.clock), LostClaims()
    lost.remember(process.resources.pools())
    return Term(
        process=process,
        api=api,
        epoch=epoch,
        objects=objects,
        events=EventLog(objects=objects, clock=process.clock, count=process.telemetry.posted),
        board=Board(),
        lost=lost,
        rollouts=_keeper(api, objects, process.clock),
        workloads=Workloads(objects, KubernetesAutoscalers(api, process.clock), process.clock),
    )


def _keeper(api: KubernetesApi, objects: KubernetesObjects, clock: Clock) -> RolloutKeeper:
    rollouts = KubernetesRollouts(api)
    return RolloutKeeper(rollouts=rollouts, objects=objects, recent=Recent(read=rollouts.read, clock=clock))


def _observer(term: Term, metrics: PrometheusMetrics) -> Observer:
    outside = Surroundings(
        metrics=metrics,
        workloads=term.workloads,
        rollouts=term.rollouts,
        clock=term.process.clock,
        lost=term.lost,
    )
    return Observer(term.process.resources, term.process.fleet, outside)


def _quota_keeper(term: Term, quotas: LentQuotas) -> QuotaKeeper:
    process = term.process
    return QuotaKeeper(
        quotas=quotas, resources=process.resources, fleet=process.fleet, lost=term.lost, clock=process.clock
    )


def _reporter(term: Term, quotas: LentQuotas) -> PoolReporter:
    process = term.process
    return PoolReporter(
        resources=process.resources,
        fleet=process.fleet,
        objects=term.objects,
        clock=process.clock,
        telemetry=process.telemetry,
        lost=term.lost,
        quotas=quotas.words,
    )


def _buyer(term: Term) -> Buyer:
    process = term.process
    return Buyer(
        books=OrderBooks(api=term.api),
        resources=process.resources,
        fleet=process.fleet,
        providers=KubernetesProviders(term.api),
        departures=KubernetesDepartures(term.api),
        events=term.events,
        clock=process.clock,
        lost=term.lost,
        board=term.board,
        epoch=term.epoch,
    )


def _mover(term: Term) -> Mover:
    process, fleet = term.process, term.process.fleet
    return Mover(
        resources=process.resources,
        fleet=fleet,
        moves=KubernetesMoves(term.api),
        claimer=Claimer(resources=process.resources, fleet=fleet, census=fleet, clock=process.clock, lost=term.lost),
        leavers=Leavers(pods=term.objects, events=term.events, telemetry=process.telemetry),
        books=Ledger(api=term.api, clock=process.clock),
        lost=term.lost,
        pods=term.objects,
        events=term.events,
        telemetry=process.telemetry,
        clock=process.clock,
        epoch=term.epoch,
        board=term.board,
    )
