"""The work on lenders' nodes: it saves what it did, leaves when it is told to, and starts again where there is room."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from meltguard.core.decision import NO_WORK
from meltguard.core.fleet import Budget, Job, NodeView, PodView
from meltguard.core.policy import Pool
from meltguard.core.service import Selector
from meltguard.core.units import GpuHours, Gpus, Instant, Seconds
from meltguard.rehearse.clock import RehearsedClock
from meltguard.rehearse.cluster import Cluster, bare_pod, free_gpus, open_nodes
from meltguard.rehearse.fleet_plan import WorkPlan
from meltguard.sim.lenders import Stage

HOUR: Final = 3600.0
ASKED: Final = "its owner asks to keep it (meltguard.io/do-not-evict)"
APP: Final = "app"


@dataclass(slots=True)
class Work:
    """One Job on a pool's nodes."""

    plan: WorkPlan
    pool: Pool
    saved: Instant | None  # its last checkpoint
    began: Instant  # when it last began, at its start or after it was broken off
    retries: int  # pods that may still fail
    done: bool = False
    stopped: bool = False  # one of its pods is missing: a gang then does nothing

    @property
    def uid(self) -> str:
        """Of the Job."""
        return f"job-{self.pool.name}-{self.plan.name}"


WorkEvent = Callable[[Work], None]


@dataclass(slots=True)
class Research:
    """All work of all pools."""

    cluster: Cluster
    clock: RehearsedClock
    works: dict[str, Work] = field(default_factory=dict)  # by the Job's uid
    lost: GpuHours = NO_WORK  # done since the last checkpoint of what was broken off
    broken_off: int = 0  # times that a Job was
    _pods: int = 0
    _stage: Stage | None = None

    def place(self, pool: Pool, plan: WorkPlan, nodes: list[NodeView]) -> None:
        """A Job runs on these nodes, one pod on each, since before the surge."""
        now = self.clock.now()
        began = Instant(now - plan.running_for)
        saved = None if plan.checkpoint_every is None else _last_save(began, plan.checkpoint_every, now)
        work = Work(plan=plan, pool=pool, saved=saved, began=began, retries=plan.retries)
        self.works[work.uid] = work
        for node in nodes:
            self.cluster.bind(replace(self._new_pod(work, node.gpus), started_at=began), node.name)

    def begin(self, stage: Stage) -> None:
        """From now on it goes on by itself."""
        self._stage = stage
        for work in self.works.values():
            if work.plan.checkpoint_every is not None:
                since = self.clock.now() - (work.saved or work.began)
                self._at(work.plan.checkpoint_every - since, work, self._save)
            if work.plan.lasts is not None:
                self._at(work.plan.lasts, work, self._end)

    def told(self, pod: PodView) -> None:
        """A pod was told that it has to leave: one that listens saves its work."""
        work = self.works.get(pod.owner_uid)
        if work is not None and work.plan.saves_within is not None:
            self._at(work.plan.saves_within, work, lambda work: self._answer(work, pod))

    def evicted(self, pod: PodView) -> bool:
        """A pod is leaving; False where it is no work of ours."""
        work = self.works.get(pod.owner_uid)
        if work is None:
            return False
        self._break_off(work)
        work.retries = max(0, work.retries - 1)
        self._at(pod.grace, work, lambda work: self._gone(work, pod))
        return True

    def settle(self) -> None:
        """Pods that wait start where their pool has room."""
        for pod in list(self.cluster.pending.values()):
            work = self.works.get(pod.owner_uid)
            node = self._room(work, pod.gpus) if work is not None else None
            if work is None or node is None:
                continue
            now = self.clock.now()
            self.cluster.bind(replace(pod, started_at=now, ready=True), node.name)
            if sum(not one.terminating for one in self._bound(work)) == work.plan.nodes:
                work.stopped, work.began = False, now

    def budgets(self) -> tuple[Budget, ...]:
        """The disruption budgets of the Jobs that have one, with what they allow now."""
        return tuple(self._budget(work) for work in self.works.values() if work.plan.min_available and not work.done)

    def jobs(self) -> tuple[Job, ...]:
        """What an eviction may cost each Job."""
        return tuple(
            Job(
                namespace=work.pool.name,
                name=work.plan.name,
                uid=work.uid,
                failures_left=work.retries,
                forgives_disruption=False,
            )
            for work in self.works.values()
            if not work.done
        )

    def _at(self, delay: float, work: Work, happens: WorkEvent) -> None:
        if self._stage is not None:
            self._stage.at(Seconds(self.clock.at + max(0.0, delay)), lambda _: self._meet(work, happens))

    def _meet(self, work: Work, happens: WorkEvent) -> None:
        if not work.done:
            happens(work)

    def _save(self, work: Work) -> None:
        if not work.stopped:
            self._note_save(work)
        self._at(work.plan.checkpoint_every or math.inf, work, self._save)

    def _answer(self, work: Work, pod: PodView) -> None:
        """In a gang one speaks for all."""
        present = self.cluster.pod(pod)
        if present is not None and present.notice and not present.terminating:
            self._note_save(work)

    def _note_save(self, work: Work) -> None:
        work.saved = self.clock.now()
        for pod in list(self._bound(work)):
            self.cluster.change(pod, saved_at=work.saved)

    def _end(self, work: Work) -> None:
        work.done = True
        for pod in list(self._bound(work)):
            self.cluster.remove(pod)
        self.cluster.give_up(work.uid)
        self.settle()

    def _break_off(self, work: Work) -> None:
        """All its pods lose what they did since the last checkpoint, once: until it is whole again it does nothing."""
        if work.stopped:
            return
        work.stopped = True
        since = max(work.began, work.saved or work.began)
        gpus = sum(pod.gpus for pod in self._bound(work))
        self.lost = GpuHours(self.lost + gpus * max(0.0, self.clock.now() - since) / HOUR)
        self.broken_off += 1

    def _gone(self, work: Work, pod: PodView) -> None:
        """Its Job makes another pod, which waits for room."""
        present = self.cluster.pod(pod)
        if present is not None:
            self.cluster.remove(present)
        self.cluster.wait(replace(self._new_pod(work, pod.gpus), saved_at=work.saved), self.clock.now())
        self.settle()

    def _room(self, work: Work, gpus: Gpus) -> NodeView | None:
        nodes = open_nodes(self.cluster.view().nodes, work.pool.labels)
        return next((node for node in nodes if node.claim is None and free_gpus(node) >= gpus), None)

    def _bound(self, work: Work) -> Iterator[PodView]:
        return (pod for node in self.cluster.nodes.values() for pod in node.pods if pod.owner_uid == work.uid)

    def _budget(self, work: Work) -> Budget:
        healthy = sum(not pod.terminating for pod in self._bound(work))
        return Budget(
            namespace=work.pool.name,
            name=work.plan.name,
            uid=f"budget-{work.uid}",
            selector=Selector(labels={APP: work.plan.name}, requirements=()),
            allowed=max(0, healthy - work.plan.min_available),
            never="",
        )

    def _new_pod(self, work: Work, gpus: Gpus) -> PodView:
        self._pods += 1
        plan, namespace = work.plan, work.pool.name
        return replace(
            bare_pod(namespace, f"{plan.name}-{self._pods}", gpus),
            labels={APP: plan.name},
            ready=True,
            owner_kind="Job",
            owner_name=plan.name,
            owner_uid=work.uid,
            gang=f"Job {namespace}/{plan.name}",
            grace=Seconds(plan.grace),
            priority=plan.priority,
            keep=ASKED if plan.keep else "",
            node_selector=work.pool.labels,
            saved_at=work.saved,
        )


def _last_save(began: Instant, every: float, now: Instant) -> Instant | None:
    saves = int((now - began) // every)
    return Instant(began + saves * every) if saves else None
