"""The pools around the service: the operator's own mover carries out what its decisions ask of nodes, step by step."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from typing_extensions import override

from meltguard.api.bookings import plan_of
from meltguard.api.to_core import PolicyObject, PoolObject
from meltguard.api.windows import Timetable
from meltguard.controller.asked import CustomResources
from meltguard.controller.assigned import Assigned
from meltguard.controller.board import Board
from meltguard.controller.claimer import Claimer
from meltguard.controller.events import EventLog
from meltguard.controller.leavers import Leavers
from meltguard.controller.lost_claims import LostClaims
from meltguard.controller.mover import Books, Mover
from meltguard.controller.telemetry import Telemetry
from meltguard.core.decision import Decision
from meltguard.core.fleet import Claim, MoveStep, NodeView, PodView
from meltguard.core.ledger import Books as Ledger
from meltguard.core.ledger import closed, ended, lent_lately
from meltguard.core.policy import Policy
from meltguard.core.pools import loans_of
from meltguard.core.seen import NO_PLAN, Snapshot
from meltguard.core.units import Epoch, Instant, NodeName, PoolName, Seconds
from meltguard.rehearse.clock import RehearsedClock, TimedStage
from meltguard.rehearse.cluster import Cluster
from meltguard.rehearse.research import Research
from meltguard.rehearse.story import Story
from meltguard.rehearse.workload import ServicePods
from meltguard.sim.lenders import Lenders, Stage

MOVES_EVERY: Final = Seconds(1.0)
"""The mover's pace, as the operator's settings have it by default."""


@dataclass(frozen=True, slots=True)
class Applied(CustomResources):
    """The manifests, as if they had been applied."""

    policy: PolicyObject
    lenders: tuple[PoolObject, ...]

    @override
    def policies(self) -> dict[str, PolicyObject]:
        """The one that is rehearsed."""
        return {self.policy.policy.uid: self.policy}

    @override
    def policy_exists(self, uid: str) -> bool:
        """Whether it is that one."""
        return uid == self.policy.policy.uid

    @override
    def pools(self) -> tuple[PoolObject, ...]:
        """All."""
        return self.lenders


@dataclass(slots=True)
class LenderBooks(Books):
    """Ended loans, by the pool that lent."""

    clock: RehearsedClock
    of: dict[PoolName, Ledger] = field(default_factory=dict)

    @override
    async def close(self, node: NodeView, claim: Claim) -> None:
        """Write a loan down."""
        books, loan = self.of.get(claim.home, Ledger()), ended(node, claim, self.clock.now())
        self.of[claim.home] = closed(books, loan, opened=claim.lent_at is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Who has the nodes at one tick."""

    at: Seconds
    home: Mapping[PoolName, int]  # unclaimed nodes by pool
    lent: int  # open for the service
    moving: int  # claimed: not open yet, or on the way home


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What a mover works on."""

    cluster: Cluster
    clock: RehearsedClock
    pods: ServicePods
    research: Research
    story: Story
    namespace_labels: Mapping[str, str]


class RehearsedLenders(Lenders):
    """Nodes, loans and returns, driven by the operator's mover. One rehearsal's; close it at the end."""

    def __init__(self, applied: Applied, around: Around, watch: Callable[[Seconds], None]) -> None:
        self.frames: list[Frame] = []
        self.books = LenderBooks(around.clock)
        self._policy: Policy = applied.policy.policy
        self._pools = tuple(one.pool for one in applied.lenders)
        self._around, self._watch = around, watch
        self._mover = _a_mover(applied, around, self.books)
        self._timetable = Timetable()
        self._runner = asyncio.Runner()  # the mover arbitrates in a thread
        self._tightened: frozenset[NodeName] = frozenset()
        self._stage: Stage | None = None
        self._assigned = Assigned()
        self._loans: tuple[NodeView, ...] = ()  # as the decision under way sees them
        around.cluster.budgets, around.cluster.jobs = around.research.budgets, around.research.jobs
        around.cluster.on_notice = around.research.told
        around.cluster.on_eviction = self._evicted
        around.cluster.on_leave_first = lambda pod: around.pods.leaving_first.add(pod.uid)

    @property
    def board(self) -> Board:
        """What the decisions ask of nodes."""
        return self._mover.board

    def close(self) -> None:
        """Nothing moves any more."""
        self._runner.close()

    @override
    def begin(self, stage: Stage) -> None:
        """The service's own pods serve, research works, the mover looks."""
        self._stage = timed = TimedStage(stage, self._around.clock)
        self._around.pods.begin(timed)
        self._around.research.begin(timed)
        timed.at(MOVES_EVERY, self._move)

    @override
    def shown(self, seen: Snapshot, now: Instant) -> Snapshot:
        """With everything around the service, as the operator's observer reads it."""
        around, policy = self._around, self._policy
        around.clock.at = Seconds(now - around.clock.dawn)
        view = around.cluster.view()
        self._loans = loans_of(policy.uid, view.nodes)
        lenders = [pool for pool in self._pools if pool.lending is not None]
        return replace(
            seen,
            pools=self._assigned.of(self._pools, view.nodes),
            loans=self._loans,
            namespace_labels=around.namespace_labels,
            workload=around.pods.workload(),
            guards=view.guards,
            pending=tuple(pod for pod in view.pending if pod.gpus > 0),
            started=around.pods.started(),
            unready_pods=around.pods.unready(),
            tightened=self._tightened,
            hours={pool.name: self._timetable.hours(pool.lending.windows, now) for pool in lenders if pool.lending},
            plan=plan_of(policy.capacity.calendar, self._timetable, now) if policy.capacity else NO_PLAN,
            lent_lately={name: lent_lately(books, now) for name, books in self.books.of.items()},
        )

    @override
    def decided(self, decision: Decision, at: Seconds) -> None:
        """As the service's own loop: to the board, to the workload, into the story. All pods obeyed at once."""
        around = self._around
        self.board.decided(self._policy, decision)
        if decision.replicas is not None:
            around.pods.replicas = decision.replicas.replicas
        if not decision.learning:
            around.story.decided(decision, len(self._loans))
            self._tightened = decision.leaving
        around.pods.settle()
        self.frames.append(self._frame(at))
        self._watch(at)

    def _move(self, at: Seconds) -> None:
        """The mover's pass, where anything is under a claim or wanted."""
        if self._stage is not None:
            self._stage.at(Seconds(at + MOVES_EVERY), self._move)
        if not self.board.wanted and all(node.claim is None for node in self._around.cluster.nodes.values()):
            return
        before = self._around.cluster.version
        self._runner.run(self._mover.run_once())
        if self._around.cluster.version != before:
            self._around.pods.settle()
            self._around.research.settle()

    def _evicted(self, pod: PodView) -> None:
        if not self._around.pods.evicted(pod):
            self._around.research.evicted(pod)

    def _frame(self, at: Seconds) -> Frame:
        pools = self._assigned.of(self._pools, self._around.cluster.view().nodes)
        lent = sum(node.claim is not None and node.claim.step is MoveStep.LENT for node in self._loans)
        return Frame(
            at=at,
            home={name: len(pool.members) - len(pool.lent) for name, pool in pools.items()},
            lent=lent,
            moving=len(self._loans) - lent,
        )


def _a_mover(applied: Applied, around: Around, books: LenderBooks) -> Mover:
    """The operator's, over the made-up cluster."""
    telemetry, lost, cluster = Telemetry(), LostClaims(), around.cluster
    events = EventLog(objects=around.story, clock=around.clock, count=telemetry.posted)
    return Mover(
        resources=applied,
        fleet=cluster,
        moves=cluster,
        claimer=Claimer(resources=applied, fleet=cluster, census=cluster, clock=around.clock, lost=lost),
        leavers=Leavers(pods=cluster, events=events, telemetry=telemetry),
        books=books,
        lost=lost,
        pods=cluster,
        events=events,
        telemetry=telemetry,
        clock=around.clock,
        epoch=Epoch(1),
    )
