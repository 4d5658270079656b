"""Which pods keep a node at home: every rule alone, budgets and Jobs over all the pods that they mean."""

from dataclasses import replace
from typing import Any

import pytest

from meltguard.core.fleet import Guards, NodeView
from meltguard.core.policy import Eviction
from meltguard.core.preflight import CHECKS, Obstacle, ObstacleReason, obstacles, wants_to_stay
from meltguard.core.service import Selector
from meltguard.core.units import Instant, NodeName, Seconds
from support.core_values import a_job, a_node, a_pod
from support.drain_world import EVICTION, a_budget

NOW = Instant(10_000.0)
OTHER = Selector(labels={"app": "other"}, requirements=())
PAIR = (a_pod("one", owner_uid="one-uid"), a_pod("two", owner_uid="two-uid"))


def found(
    node: NodeView, guards: Guards | None = None, eviction: Eviction = EVICTION, now: Instant = NOW
) -> tuple[Obstacle, ...]:
    return obstacles(node, eviction, guards or Guards(), now)


def reasons(node: NodeView, guards: Guards | None = None, eviction: Eviction = EVICTION) -> list[ObstacleReason]:
    return [one.reason for one in found(node, guards, eviction)]


def test_ordinary_work_may_leave() -> None:
    assert found(a_node(pods=PAIR), Guards(budgets=(a_budget(2),), jobs=(a_job(failures_left=1),))) == ()


@pytest.mark.parametrize(
    "pod",
    [
        a_pod(owner_kind="DaemonSet"),
        a_pod(mirror=True, owner_kind=""),
        a_pod(finished=True, owner_kind=""),
        a_pod(terminating=True, owner_kind=""),
    ],
    ids=["a DaemonSet's", "a static pod's mirror", "finished", "terminating"],
)
def test_who_need_not_be_evicted_is_no_obstacle(pod: Any) -> None:
    guards = Guards(budgets=(a_budget(0),))
    assert found(a_node(pods=(replace(pod, local_data=True, keep="is to stay"),)), guards) == ()


ALONE = {
    "nothing would start it again": ({"owner_kind": "", "owner_name": ""}, ObstacleReason.UNOWNED, True),
    "its owner keeps it": ({"keep": "is to stay"}, ObstacleReason.DO_NOT_DISRUPT, True),
    "its owner keeps it for a time": (
        {"keep": "is to stay", "keep_for": Seconds(600.0), "started_at": Instant(NOW - 599)},
        ObstacleReason.DO_NOT_DISRUPT,
        False,
    ),
    "its data lies on the node": ({"local_data": True}, ObstacleReason.LOCAL_DATA, True),
    "it may take longer to end than there is time": ({"grace": Seconds(101.0)}, ObstacleReason.GRACE_TOO_LONG, True),
}


@pytest.mark.parametrize(("changes", "reason", "lasting"), ALONE.values(), ids=ALONE)
def test_one_pod_keeps_its_node(changes: dict[str, Any], reason: ObstacleReason, lasting: bool) -> None:  # noqa: FBT001
    told = found(a_node(pods=(a_pod("fine", owner_uid="fine-uid"), a_pod("stuck", **changes))))
    assert [(one.pod, one.reason, one.lasting) for one in told] == [("research/stuck", reason, lasting)]
    assert told[0].text


def test_notice_and_grace_may_fill_the_deadline_exactly() -> None:
    assert found(a_node(pods=(a_pod(grace=Seconds(EVICTION.deadline - EVICTION.notice)),))) == ()


def test_data_on_the_node_may_be_lost_where_the_pool_says_so() -> None:
    assert found(a_node(pods=(a_pod(local_data=True),)), eviction=replace(EVICTION, loses_local_data=True)) == ()


@pytest.mark.parametrize(("ran", "refused"), [(1799.0, True), (1800.0, False), (None, True)])
def test_young_work_is_granted_its_time(ran: float | None, refused: bool) -> None:  # noqa: FBT001
    started = None if ran is None else Instant(NOW - ran)
    told = found(a_node(pods=(a_pod(started_at=started),)), eviction=replace(EVICTION, minimum_runtime=Seconds(1800.0)))
    assert [one.reason for one in told] == [ObstacleReason.MINIMUM_RUNTIME] * refused
    assert not any(one.lasting for one in told)


def test_a_wish_to_stay_ends_with_its_time() -> None:
    pod = a_pod(keep="is to stay", keep_for=Seconds(600.0), started_at=Instant(NOW - 600))
    assert wants_to_stay(pod, NOW) == ""
    assert wants_to_stay(pod, Instant(NOW - 1)) == "is to stay"
    assert wants_to_stay(replace(pod, started_at=None), NOW) == "is to stay"
    assert wants_to_stay(replace(pod, keep_for=None), NOW) == "is to stay"


def test_a_budget_must_bear_all_pods_of_the_node_together() -> None:
    node = a_node(pods=PAIR)
    assert found(node, Guards(budgets=(a_budget(2),))) == ()
    told = found(node, Guards(budgets=(a_budget(1),)))
    assert [one.reason for one in told] == [ObstacleReason.BUDGET_EXHAUSTED] * 2
    assert "allows 1 evictions now, 2 are needed" in told[0].text
    assert not any(one.lasting for one in told)


def test_a_budget_must_bear_what_other_moves_will_evict() -> None:
    elsewhere = a_pod("three", node=NodeName("gpu-06"))
    node = a_node(pods=PAIR)
    assert found(node, Guards(budgets=(a_budget(3),), pledged=(elsewhere,))) == ()
    assert reasons(node, Guards(budgets=(a_budget(2),), pledged=(elsewhere,))) == [ObstacleReason.BUDGET_EXHAUSTED] * 2


def test_pods_that_are_going_anyway_cost_a_budget_nothing() -> None:
    going = a_pod("going", terminating=True)
    assert found(a_node(pods=(*PAIR, going)), Guards(budgets=(a_budget(2),))) == ()


@pytest.mark.parametrize(
    "changes", [{"selector": None}, {"selector": OTHER}, {"namespace": "serving"}], ids=["none", "others", "elsewhere"]
)
def test_a_budget_that_does_not_mean_a_pod_does_not_hold_it(changes: dict[str, Any]) -> None:
    assert found(a_node(pods=PAIR), Guards(budgets=(replace(a_budget(0), **changes),))) == ()


def test_what_can_never_be_allowed_is_told_apart_from_what_is_not_allowed_now() -> None:
    never = found(a_node(pods=(a_pod(),)), Guards(budgets=(a_budget(0, never="maxUnavailable is 0; raise it"),)))
    now = found(a_node(pods=(a_pod(),)), Guards(budgets=(a_budget(0),)))
    assert [(one.reason, one.lasting) for one in never] == [(ObstacleReason.BUDGET_UNSATISFIABLE, True)]
    assert "maxUnavailable is 0; raise it" in never[0].text
    assert [(one.reason, one.lasting) for one in now] == [(ObstacleReason.BUDGET_EXHAUSTED, False)]


def test_two_budgets_on_one_pod_are_an_error_of_kubernetes_and_an_obstacle_of_their_own() -> None:
    budgets = (a_budget(5), replace(a_budget(5), name="second", uid="b-2"))
    told = found(a_node(pods=(a_pod(),)), Guards(budgets=budgets))
    assert [(one.reason, one.lasting) for one in told] == [(ObstacleReason.TWO_BUDGETS, True)]
    assert "train, second" in told[0].text


WORKERS = (a_pod("w-0"), a_pod("w-1"))


def test_a_job_is_not_failed_by_evictions() -> None:
    node = a_node(pods=WORKERS)
    assert found(node, Guards(jobs=(a_job(failures_left=2),))) == ()
    told = found(node, Guards(jobs=(a_job(failures_left=1),)))
    assert [(one.reason, one.lasting) for one in told] == [(ObstacleReason.WOULD_FAIL_JOB, True)] * 2
    assert "Job train may fail 1 more" in told[0].text


def test_a_job_pays_for_other_moves_too() -> None:
    elsewhere = a_pod("w-2", node=NodeName("gpu-06"))
    guards = Guards(jobs=(a_job(failures_left=2),), pledged=(elsewhere,))
    assert reasons(a_node(pods=WORKERS), guards) == [ObstacleReason.WOULD_FAIL_JOB] * 2


def test_a_job_that_forgives_disruption_or_may_fail_is_no_obstacle() -> None:
    node = a_node(pods=WORKERS)
    assert found(node, Guards(jobs=(a_job(forgives_disruption=True),))) == ()
    assert found(node, Guards(jobs=(a_job(),)), replace(EVICTION, fails_jobs=True)) == ()


def test_every_reason_of_every_pod_is_told() -> None:
    pods = (a_pod("bare", owner_kind="", local_data=True), a_pod("kept", keep="is to stay", owner_uid="other"))
    told = [(one.pod, one.reason) for one in found(a_node(pods=pods))]
    assert told == [
        ("research/bare", ObstacleReason.UNOWNED),
        ("research/bare", ObstacleReason.LOCAL_DATA),
        ("research/kept", ObstacleReason.DO_NOT_DISRUPT),
    ]


def test_the_checks_stand_in_their_order() -> None:
    assert [check.__name__ for check in CHECKS] == [
        "_unowned",
        "_kept",
        "_with_local_data",
        "_too_young",
        "_too_slow",
        "_two_budgets",
        "_never",
        "_not_now",
        "_fails_its_job",
    ]
