"""What evictions cost: work since the last checkpoint, gangs whole, each work once."""

from dataclasses import replace
from typing import Any

import pytest

from meltguard.core.fleet import Drain, Guards, MoveStep, NodeView, PodView
from meltguard.core.harm import MOST_WORK, elsewhere, losses, lost_hours, survey, work_name
from meltguard.core.moves import new_claim
from meltguard.core.units import GpuHours, Gpus, Instant, NodeName
from support.core_values import a_job, a_node, a_pod, a_pool
from support.drain_world import EVICTION

HOUR = 3600.0
NOW = Instant(1_000_000.0)


def ago(hours: float) -> Instant:
    return Instant(NOW - hours * HOUR)


def a_member(node: str, hours: float, gang: str = "JobSet research/big", **changes: Any) -> PodView:
    """A pod of a gang that has run for so long on eight GPUs."""
    return a_pod(f"{node}-pod", node=NodeName(node), gang=gang, started_at=ago(hours), **changes)


def on(name: str, *pods: PodView) -> NodeView:
    return a_node(name, pods=pods)


def cost(node: NodeView, *others: NodeView, guards: Guards | None = None) -> float:
    return lost_hours(survey([node, *others], guards or Guards(), NOW), [node])


PODS = {
    "since its start": ({"started_at": ago(2)}, 16.0),
    "since it was saved": ({"started_at": ago(9), "saved_at": ago(0.5)}, 4.0),
    "saved before it was started again": ({"started_at": ago(1), "saved_at": ago(5)}, 8.0),
    "never reporting, with a cap": ({"started_at": ago(100)}, 8 * MOST_WORK / HOUR),
    "saved long ago, with the same cap": ({"started_at": ago(100), "saved_at": ago(90)}, 8 * MOST_WORK / HOUR),
    "saved by a clock that runs ahead": ({"started_at": ago(2), "saved_at": Instant(NOW + 60)}, 0.0),
    "not started": ({"started_at": None}, 0.0),
    "on two GPUs": ({"started_at": ago(3), "gpus": Gpus(2)}, 6.0),
    "ending already": ({"started_at": ago(3), "terminating": True}, 0.0),
    "of a DaemonSet": ({"started_at": ago(3), "owner_kind": "DaemonSet"}, 0.0),
}


@pytest.mark.parametrize(("changes", "hours"), PODS.values(), ids=PODS)
def test_a_pod_loses_its_work(changes: dict[str, Any], hours: float) -> None:
    assert cost(on("n1", a_pod(**changes))) == pytest.approx(hours)


def test_a_gang_loses_what_all_its_members_lose_wherever_they_run() -> None:
    here, there = on("n1", a_member("n1", 2.0)), on("n2", a_member("n2", 3.0))
    assert cost(here, there) == pytest.approx(8 * 2.0 + 8 * 3.0)


def test_one_member_speaks_for_its_gang() -> None:
    here = on("n1", a_member("n1", 9.0))
    there = on("n2", a_member("n2", 9.0, saved_at=ago(0.25)))
    assert cost(here, there) == pytest.approx(16 * 0.25)


def test_a_broken_gang_costs_nothing_more() -> None:
    nodes = [on("n1", a_member("n1", 2.0)), on("n2", a_member("n2", 2.0))]
    stakes = survey(nodes, Guards(), NOW)
    assert lost_hours(stakes, nodes) == lost_hours(stakes, nodes[:1]) == pytest.approx(32.0)
    assert [loss.work.name for loss in losses(stakes, nodes)] == ["JobSet research/big"]


def test_a_gang_that_an_open_move_breaks_costs_nothing_more() -> None:
    here, there = on("n1", a_member("n1", 2.0)), on("n2", a_member("n2", 2.0))
    guards = Guards(pledged=there.pods)
    assert cost(here, there, guards=guards) == 0.0


def drained(began: Instant | None) -> NodeView:
    """A node that is lent; the gang was broken off for it."""
    pools = (a_pool(), a_pool("inference"))
    node = on("n2")
    claim = new_claim(node, ("serving/image-gen", "uid"), pools, (ago(5), Instant(NOW + HOUR)))
    drain = Drain(
        eviction=EVICTION,
        deadline=ago(4),
        work_lost=GpuHours(1.0),
        victims=("JobSet research/big",),
        began=began,
    )
    return replace(node, claim=replace(claim, step=MoveStep.LENT, drain=drain))


def test_what_was_lost_before_is_not_lost_again() -> None:
    here = on("n1", a_member("n1", 9.0))
    assert cost(here, drained(ago(0.5))) == pytest.approx(8 * 0.5)
    assert cost(here, drained(None)) == pytest.approx(8 * 9.0)  # that move evicted nobody


def test_a_job_that_fails_as_a_whole_counts_since_its_start_whatever_it_saved() -> None:
    name = "Job research/train"
    here = on("n1", a_member("n1", 30.0, gang=name, saved_at=ago(0.1)))
    there = on("n2", a_member("n2", 30.0, gang=name, saved_at=ago(0.1)))
    spent = Guards(jobs=(a_job(failures_left=0),))
    assert cost(here, there, guards=spent) == pytest.approx(16 * 30.0)
    assert cost(here, there, guards=Guards(jobs=(a_job(failures_left=1),))) == pytest.approx(16 * 0.1)
    assert cost(here, there, guards=Guards(jobs=(a_job(forgives_disruption=True),))) == pytest.approx(16 * 0.1)


def test_only_the_eviction_too_many_fails_a_job() -> None:
    name = "Job research/train"
    nodes = [on(node, a_member(node, 4.0, gang=name, saved_at=ago(1))) for node in ("n1", "n2", "n3")]
    stakes = survey(nodes, Guards(jobs=(a_job(failures_left=1),)), NOW)
    assert [lost_hours(stakes, nodes[:count]) for count in (1, 2)] == pytest.approx([24.0, 96.0])
    assert [loss.fails for loss in losses(stakes, nodes[:2])] == [True]


def test_evictions_of_other_moves_count_against_a_job_too() -> None:
    here, there = (on(name, a_member(name, 4.0, gang="Job research/train")) for name in ("n1", "n2"))
    guards = Guards(jobs=(a_job(failures_left=1),), pledged=there.pods)
    assert cost(here, there, guards=guards) == pytest.approx(64.0)


def test_a_job_that_open_moves_end_cannot_end_once_more() -> None:
    here, there = (on(name, a_member(name, 4.0, gang="Job research/train")) for name in ("n1", "n2"))
    guards = Guards(jobs=(a_job(failures_left=0),), pledged=there.pods)
    assert cost(here, there, guards=guards) == 0.0


def test_pods_that_stop_elsewhere_are_named() -> None:
    nodes = [on(name, a_member(name, 1.0)) for name in ("n1", "n2", "n3")]
    (loss,) = losses(survey(nodes, Guards(), NOW), nodes[:1])
    assert elsewhere(loss.work, [NodeName("n1")]) == ("research/n2-pod on n2", "research/n3-pod on n3")


def test_a_pod_that_stands_alone_is_named_by_itself() -> None:
    assert work_name(a_pod("notebook")) == "Pod research/notebook"
    assert work_name(a_pod(gang="Job research/train")) == "Job research/train"


def test_the_highest_priority_of_a_gang_counts() -> None:
    nodes = [on("n1", a_member("n1", 1.0, priority=5)), on("n2", a_member("n2", 1.0, priority=50))]
    (loss,) = losses(survey(nodes, Guards(), NOW), nodes[:1])
    assert loss.work.priority == 50
