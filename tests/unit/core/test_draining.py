"""How running work leaves a node, under all that happens meanwhile."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.core.fleet import DRIVER_UPGRADE_LABEL, OPT_OUT_ANNOTATION, MoveStep
from meltguard.core.policy import OnDeadline, Taint
from meltguard.core.units import Instant, PodUid
from support.core_values import a_node, a_pod
from support.drain_world import DEADLINE, EVICTION, NOTICE, START, World, a_budget


def test_a_busy_node_is_emptied_in_order() -> None:
    world = World()
    world.run(MoveStep.LENT)
    assert world.steps == [
        MoveStep.CLAIMED,
        MoveStep.CORDONED,
        MoveStep.NOTIFIED,
        MoveStep.DRAINING,
        MoveStep.RELABELLED,
        MoveStep.LENT,
    ]
    assert all(world.evicted[name] - world.told[name] >= NOTICE for name in ("job-1", "job-2"))
    assert world.claim is not None
    assert world.claim.lent_at is not None
    assert world.claim.drain is not None
    assert world.claim.drain.began is not None
    assert world.now - START <= NOTICE + 3.0 + 10.0  # notice, the time the pods take, and ten seconds


def test_whoever_says_that_the_work_is_saved_goes_at_once() -> None:
    world = World(pods=[a_pod()])
    world.run(MoveStep.NOTIFIED)
    world.step()
    world.pods = [replace(pod, saved_at=Instant(world.now)) for pod in world.pods]
    world.run(MoveStep.LENT)
    assert world.evicted["job-1"] - world.told["job-1"] < NOTICE


def test_an_old_mark_is_no_answer() -> None:
    world = World(pods=[a_pod(saved_at=Instant(START - 5.0))])
    world.run(MoveStep.LENT)
    assert world.evicted["job-1"] - world.told["job-1"] >= NOTICE


def test_an_idle_node_is_not_told_anything() -> None:
    world = World(pods=[])
    world.run(MoveStep.LENT)
    assert MoveStep.NOTIFIED not in world.steps
    assert not world.told


def test_nobody_is_told_where_not_all_can_go() -> None:
    world = World(budgets=(a_budget(1),))
    world.run(None)
    assert not world.told
    assert not world.evicted
    assert MoveStep.HOME in world.steps


def test_a_budget_that_closes_in_the_middle_ends_the_drain_at_its_deadline() -> None:
    world = World(budgets=(a_budget(2),))
    world.run(MoveStep.DRAINING)
    world.budgets = (a_budget(0),)
    world.run(None)
    assert not world.evicted
    assert world.untold == ["job-1", "job-2"]
    assert world.now - START <= DEADLINE + 10.0
    assert "not empty by its deadline" in world.why


def test_skip_notice_asks_late_comers_at_the_deadline() -> None:
    world = World(
        eviction=replace(EVICTION, on_deadline=OnDeadline.SKIP_NOTICE), pods=[a_pod()], budgets=(a_budget(1),)
    )
    world.run(MoveStep.DRAINING)
    world.budgets = (a_budget(0),)
    while world.now < START + DEADLINE:
        world.step()
    world.pods.append(a_pod("late", uid=PodUid("late"), notice=""))
    world.budgets = (a_budget(2),)
    world.run(MoveStep.LENT)
    assert world.evicted["late"] - world.told["late"] < NOTICE


def test_a_pod_that_never_ends_is_never_relabelled_over() -> None:
    world = World(stubborn=True, eviction=replace(EVICTION, on_deadline=OnDeadline.SKIP_NOTICE))
    world.run(None)
    assert MoveStep.RELABELLED not in world.steps


@pytest.mark.parametrize("step", [MoveStep.NOTIFIED, MoveStep.DRAINING])
def test_an_owner_may_object_until_the_last_moment(step: MoveStep) -> None:
    world = World(budgets=(a_budget(0),)) if step is MoveStep.DRAINING else World()
    world.budgets = (a_budget(2),)
    world.run(MoveStep.NOTIFIED)
    world.step()
    if step is MoveStep.DRAINING:
        world.budgets = (a_budget(0),)
        world.run(MoveStep.DRAINING)
    world.pods[0] = replace(world.pods[0], keep="bears meltguard.io/do-not-evict")
    world.run(None)
    assert not world.evicted
    assert "do-not-evict" in world.why


INTERRUPTIONS: dict[str, dict[str, Any]] = {
    "someone uncordons": {"unschedulable": False},
    "the driver is upgraded": {"labels": {**a_node().labels, DRIVER_UPGRADE_LABEL: "drain-required"}},
    "Karpenter takes the node": {"taints": (Taint(key="karpenter.sh/disrupted", value="", effect="NoSchedule"),)},
    "the node is deleted": {"deleting": True},
    "the node is opted out": {"annotations": {OPT_OUT_ANNOTATION: "true"}},
}


@pytest.mark.parametrize("changes", INTERRUPTIONS.values(), ids=INTERRUPTIONS)
@pytest.mark.parametrize("step", [MoveStep.CORDONED, MoveStep.NOTIFIED, MoveStep.DRAINING])
def test_an_interruption_sends_it_home(step: MoveStep, changes: dict[str, Any]) -> None:
    world = World()
    world.run(step)
    world.changes = changes
    world.step()
    world.step()
    assert world.claim is None or world.claim.step is MoveStep.HOME
    assert all(pod.notice == "" for pod in world.pods if not pod.terminating)


def test_a_node_that_is_not_ready_is_not_drained_and_waits_no_longer_than_its_deadline() -> None:
    world = World()
    world.run(MoveStep.NOTIFIED)
    world.ready = False
    world.run(None)
    assert not world.evicted


def test_a_bind_that_lands_late_is_told_and_evicted_before_the_node_opens() -> None:
    world = World(pods=[])
    world.run(MoveStep.RELABELLED)
    world.pods = [a_pod("stray")]
    world.run(MoveStep.LENT)
    assert world.evicted["stray"] - world.told["stray"] >= NOTICE


def test_a_move_undone_after_its_relabelling_asks_nobody_to_leave() -> None:
    world = World(pods=[])
    world.run(MoveStep.RELABELLED)
    world.pods = [a_pod("stray", keep="is needed")]
    for _ in range(300):
        world.step()
    assert world.claim is None
    assert not world.evicted
    assert MoveStep.RESTORED in world.steps


EVENTS = st.sampled_from(["nothing", "late pod", "budget shuts", "budget opens", "not ready", "ready", "saved"])


def happens(event: str, world: World) -> None:
    """One thing that others do."""
    match event:
        case "late pod" if len(world.pods) < 5:
            world.arrivals += 1
            name = f"late-{world.arrivals}"
            world.pods.append(a_pod(name, uid=PodUid(name)))
        case "budget shuts" | "budget opens":
            world.budgets = (a_budget(0 if event == "budget shuts" else 9),)
        case "ready" | "not ready":
            world.ready = event == "ready"
        case "saved":
            world.pods = [replace(pod, saved_at=world.now) for pod in world.pods]
            world.saved |= {pod.name for pod in world.pods}
        case _:
            pass


@settings(max_examples=300, deadline=None)
@given(events=st.lists(EVENTS, max_size=60), mode=st.sampled_from(OnDeadline), stubborn=st.sampled_from([True, False]))
def test_whatever_happens_every_drain_ends_and_nobody_goes_untold(
    events: list[str], mode: OnDeadline, *, stubborn: bool
) -> None:
    world = World(eviction=replace(EVICTION, on_deadline=mode), stubborn=stubborn, budgets=(a_budget(9),))
    for event in events:
        happens(event, world)
        world.step()
    world.ready = True
    for _ in range(int(DEADLINE) + 200):
        world.step()
    assert world.claim is None or world.claim.step is MoveStep.LENT, (world.steps, world.why)
    for name, at in world.evicted.items():
        skipped = mode is OnDeadline.SKIP_NOTICE and at > START + DEADLINE
        assert at - world.told[name] >= NOTICE or skipped or name in world.saved
