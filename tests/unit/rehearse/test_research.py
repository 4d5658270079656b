import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

from meltguard.core.fleet import PodView
from meltguard.core.units import Gpus, Instant, NodeName
from meltguard.rehearse.clock import RehearsedClock
from meltguard.rehearse.cluster import Cluster
from meltguard.rehearse.fleet_plan import WorkPlan
from meltguard.rehearse.research import Research, Work
from support.core_values import a_node, a_pool
from support.stage import FakeStage

DAWN = Instant(1_000_000.0)


def a_work(**changes: Any) -> WorkPlan:
    return WorkPlan.model_validate({"name": "train", "runningFor": "90m", "checkpointEvery": "60m", **changes})


@dataclass
class Ground:
    """One Job on the last of three research nodes."""

    plan: WorkPlan = field(default_factory=a_work)
    clock: RehearsedClock = field(default_factory=lambda: RehearsedClock(DAWN))
    cluster: Cluster = field(default_factory=Cluster)

    def __post_init__(self) -> None:
        self.stage = FakeStage(self.clock)
        self.research = Research(self.cluster, self.clock)
        nodes = [a_node(f"gpu-{number}", gpus=Gpus(8)) for number in (1, 2, 3)]
        for node in nodes:
            self.cluster.put(node)
        self.research.place(a_pool(), self.plan, nodes[-self.plan.nodes :])
        self.research.begin(self.stage)
        self.cluster.on_eviction = self._evicted
        self.cluster.budgets = self.research.budgets

    @property
    def work(self) -> Work:
        """The Job."""
        [work] = self.research.works.values()
        return work

    def pods(self, node: str) -> tuple[PodView, ...]:
        """Those of a node."""
        return self.cluster.nodes[NodeName(node)].pods

    def evict(self, node: str) -> None:
        """All of a node's pods."""
        for pod in self.pods(node):
            asyncio.run(self.cluster.evict(pod))

    def _evicted(self, pod: PodView) -> None:
        assert self.research.evicted(pod)


def test_work_has_run_and_saved_since_before_the_surge() -> None:
    [pod] = Ground().pods("gpu-3")
    assert pod.started_at == DAWN - 5400.0
    assert pod.saved_at == DAWN - 1800.0
    assert pod.gang == "Job research/train"


def test_work_saves_at_its_own_pace() -> None:
    ground = Ground()
    ground.stage.pass_until(1800.0)
    assert ground.pods("gpu-3")[0].saved_at == DAWN + 1800.0
    ground.stage.pass_until(5399.0)
    assert ground.pods("gpu-3")[0].saved_at == DAWN + 1800.0


def test_evicted_work_ends_after_its_grace_and_starts_again_where_there_is_room() -> None:
    ground = Ground(a_work(grace="20s"))
    ground.evict("gpu-3")
    ground.stage.pass_until(19.0)
    assert ground.pods("gpu-3")[0].terminating
    assert ground.work.stopped
    ground.stage.pass_until(20.0)
    assert ground.pods("gpu-3") == ()
    assert ground.pods("gpu-1")[0].started_at == DAWN + 20.0
    assert not ground.work.stopped


def test_what_was_done_since_the_checkpoint_is_lost_once_for_a_gang() -> None:
    ground = Ground(a_work(nodes=2))
    ground.evict("gpu-3")
    ground.evict("gpu-2")
    assert ground.research.lost == 16 * 0.5
    assert ground.research.broken_off == 1


def test_work_that_listens_saves_before_it_goes() -> None:
    ground = Ground(a_work(savesWithin="10s"))
    [pod] = ground.pods("gpu-3")
    ground.cluster.change(pod, notice="move-1")
    ground.research.told(pod)
    ground.stage.pass_until(10.0)
    assert ground.pods("gpu-3")[0].saved_at == DAWN + 10.0


def test_work_whose_notice_was_taken_back_saves_nothing() -> None:
    ground = Ground(a_work(savesWithin="10s"))
    ground.research.told(ground.pods("gpu-3")[0])
    ground.stage.pass_until(10.0)
    assert ground.pods("gpu-3")[0].saved_at == DAWN - 1800.0


def test_work_waits_while_no_node_is_free() -> None:
    ground = Ground(a_work(nodes=3))
    for name in ("gpu-1", "gpu-2"):
        ground.cluster.put(a_node(name, gpus=Gpus(4)))
    ground.evict("gpu-3")
    ground.cluster.nodes[NodeName("gpu-3")] = a_node("gpu-3", gpus=Gpus(0))
    ground.stage.pass_until(60.0)
    assert [pod.stuck_since for pod in ground.cluster.view().pending] == [DAWN + 30.0]


def test_work_that_is_done_leaves_its_nodes() -> None:
    ground = Ground(a_work(lasts="10m", minAvailable=1))
    assert len(ground.research.budgets()) == len(ground.research.jobs()) == 1
    ground.stage.pass_until(600.0)
    assert ground.pods("gpu-3") == ()
    assert ground.research.budgets() == ground.research.jobs() == ()


def test_a_budget_allows_what_is_above_its_least() -> None:
    ground = Ground(a_work(nodes=2, minAvailable=1))
    assert [budget.allowed for budget in ground.research.budgets()] == [1]
    ground.evict("gpu-3")
    assert [budget.allowed for budget in ground.research.budgets()] == [0]
    assert [job.failures_left for job in ground.research.jobs()] == [5]


def test_pods_of_others_are_none_of_its_work() -> None:
    ground = Ground()
    [pod] = ground.pods("gpu-3")
    assert not ground.research.evicted(replace(pod, owner_uid="other"))
