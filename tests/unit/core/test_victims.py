"""Which nodes are taken: least harm first, gangs whole, never more than needed."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.core.fleet import Guards, NodeView, PodView
from meltguard.core.harm import lost_hours, survey
from meltguard.core.policy import Eviction, HarmBounds
from meltguard.core.preflight import obstacles
from meltguard.core.units import Gpus, Instant, NodeName, PoolName, Seconds
from meltguard.core.victims import BUSY_RULES, Choice, Need, Place, choose_nodes
from support.core_values import a_job, a_node, a_pod
from support.drain_world import EVICTION, a_budget

HOUR = 3600.0
NOW = Instant(1_000_000.0)
RESEARCH = PoolName("research")
UNBOUNDED = HarmBounds(per_gpu=Seconds(1e9 * HOUR))
SHARED = "JobSet research/big"


def work(node: str, hours: float, gang: str = "", gpus: int = 8, priority: int = 0) -> PodView:
    name = f"{node}-{gang.rpartition('/')[2]}"
    return a_pod(
        name,
        node=NodeName(node),
        gang=gang,
        gpus=Gpus(gpus),
        priority=priority,
        owner_uid=f"{name}-uid",
        started_at=Instant(NOW - hours * HOUR),
    )


def busy(name: str, *hours: float, gpus: int = 8, priority: int = 0) -> NodeView:
    """A node with a pod on two GPUs for each of these hours."""
    pods = tuple(work(name, one, f"Job research/{name}{n}", 2, priority) for n, one in enumerate(hours))
    return a_node(name, gpus=Gpus(gpus), pods=pods)


def choose(
    nodes: Sequence[NodeView],
    missing: int,
    guards: Guards | None = None,
    eviction: Eviction | None = EVICTION,
    **limits: int,
) -> Choice:
    """Of one pool with plenty of room, and of any harm: test_victims_bounds.py judges the bounds."""
    places = [
        Place(node=node, worth=node.gpus, home=RESEARCH, turn=0, eviction=eviction, bounds=UNBOUNDED) for node in nodes
    ]
    room = limits.get("room", 99)
    rooms = {RESEARCH: limits.get("pool_room", 99)}
    need = Need(missing=Gpus(missing), room=room, rooms=rooms, priority=limits.get("priority", 0))
    return choose_nodes(places, need, survey(nodes, guards or Guards(), NOW))


def names(choice: Choice) -> list[str]:
    return [node.name for node in choice.nodes]


def test_idle_nodes_come_first() -> None:
    assert names(choose([busy("a", 0.1), a_node("b"), a_node("c")], 16)) == ["b", "c"]


def test_the_idle_node_that_fits_best_is_taken() -> None:
    assert names(choose([a_node("a"), a_node("b", gpus=Gpus(4))], 4)) == ["b"]


def test_then_the_lowest_priority_then_the_least_work() -> None:
    nodes = [busy("a", 1.0, priority=10), busy("b", 9.0, priority=1), busy("c", 8.0, priority=1)]
    assert names(choose(nodes, 24, priority=10)) == ["c", "b", "a"]


def test_work_is_weighed_by_the_gpus_that_it_yields() -> None:
    small, large = busy("a", 2.0, gpus=4), busy("b", 3.0, gpus=8)
    assert names(choose([small, large], 8)) == ["b"]


def test_nodes_that_a_broken_gang_frees_come_next() -> None:
    gang = [a_node(name, pods=(work(name, 5.0, SHARED),)) for name in ("a", "b")]
    assert names(choose([busy("c", 60.0), busy("d", 70.0), *gang], 16)) == ["a", "b"]


def test_what_an_open_move_breaks_off_comes_before_other_work_but_after_idle_nodes() -> None:
    """Its priority is of no account any more: it stops in any case."""
    rest = a_node("b", pods=(work("b", 50.0, SHARED, priority=3),))
    guards = Guards(pledged=(work("z", 50.0, SHARED, priority=3),))
    nodes = [busy("a", 0.1, priority=1), rest, a_node("c")]
    assert names(choose(nodes, 24, guards, priority=5)) == ["c", "b", "a"]


def test_the_rest_of_a_broken_gang_is_not_paid_for_again() -> None:
    whole = a_node("a", pods=(work("a", 2.0, SHARED),))
    mixed = a_node("b", pods=(work("b", 2.0, SHARED, 4), work("b", 1.0, "Job research/short", 4, priority=1)))
    other = a_node("c", pods=(work("c", 3.25, priority=1),))
    assert names(choose([whole, mixed, other], 16, priority=1)) == ["a", "b"]


def test_a_node_whose_pods_are_ending_comes_after_one_that_is_idle_now() -> None:
    ending = a_node("a", pods=(replace(work("a", 9.0), terminating=True),))
    assert names(choose([ending, a_node("b")], 8)) == ["b"]
    assert names(choose([ending, busy("b", 0.1)], 8)) == ["a"]


def test_a_gang_is_weighed_by_all_the_nodes_that_it_frees() -> None:
    """Alone, each node of the gang is dearer than either of the others; together they are cheaper."""
    gang = [a_node(name, pods=(work(name, 5.0, SHARED),)) for name in ("a", "b")]
    others = [a_node(name, pods=(work(name, 6.0),)) for name in ("c", "d")]
    assert names(choose([*others, *gang], 16)) == ["a", "b"]
    assert names(choose([*others, *gang], 8)) == ["c"]


def test_a_gang_that_keeps_its_other_node_busy_frees_only_one() -> None:
    first = a_node("a", pods=(work("a", 5.0, SHARED),))
    mixed = a_node("b", pods=(work("b", 5.0, SHARED, 4), work("b", 50.0, "Job research/long", 4)))
    others = [a_node(name, pods=(work(name, 6.0),)) for name in ("c", "d")]
    assert names(choose([*others, first, mixed], 16)) == ["c", "d"]


def test_what_is_not_needed_is_dropped_the_dearest_first() -> None:
    """The small nodes come first, one by one; with the large one they are too many."""
    nodes = [busy("a", 0.5, gpus=4), busy("b", 1.0, gpus=4), busy("c", 8.0)]
    assert names(choose(nodes, 12)) == ["a", "c"]


REFUSED = {
    "its pool lends idle nodes only": (busy("a", 1.0), 8, {"eviction": None}, "lends idle nodes only"),
    "its work outranks the service": (busy("a", 1.0, priority=11), 8, {"priority": 10}, "priority 11, the service's"),
    "too little is missing": (busy("a", 1.0), 3, {}, "8 GPUs, 3 are missing"),
    "a budget does not allow it": (
        busy("a", 1.0),
        8,
        {"guards": Guards(budgets=(a_budget(0),))},
        "research/a-a0: BudgetExhausted, ",
    ),
    "a budget never allows it": (
        busy("a", 1.0),
        8,
        {"guards": Guards(budgets=(a_budget(0, never="raise it"),))},
        "research/a-a0: BudgetUnsatisfiable, ",
    ),
}


@pytest.mark.parametrize(("node", "missing", "limits", "text"), REFUSED.values(), ids=REFUSED)
def test_a_busy_node_is_refused_with_names_and_reasons(
    node: NodeView, missing: int, limits: dict[str, object], text: str
) -> None:
    choice = choose([node], missing, **limits)
    assert names(choice) == []
    assert text in choice.refused[NodeName("a")].text


def test_a_gang_outranks_by_its_members_elsewhere() -> None:
    nodes = [a_node("a", pods=(work("a", 1.0, SHARED),)), a_node("b", pods=(work("b", 1.0, SHARED, priority=5),))]
    assert names(choose(nodes, 8)) == []


def test_lasting_obstacles_are_told_first() -> None:
    node = busy("a", 1.0, 1.0)
    stuck = replace(node, pods=(node.pods[0], replace(node.pods[1], local_data=True)))
    refusal = choose([stuck], 8, Guards(budgets=(a_budget(1),))).refused[NodeName("a")]
    assert refusal.text.startswith("research/a-a1: LocalData")
    assert [one.lasting for one in refusal.obstacles] == [True, False, False]


def test_a_budget_bears_all_chosen_nodes_together() -> None:
    nodes = [busy("a", 1.0), busy("b", 2.0), busy("c", 3.0)]
    choice = choose(nodes, 24, Guards(budgets=(a_budget(2),)))
    assert names(choice) == ["a", "b"]
    assert "allows 2 evictions now, 3 are needed" in choice.refused[NodeName("c")].text


def test_a_job_bears_all_chosen_nodes_together() -> None:
    gang = "Job research/train"
    pods = [replace(work(name, 1.0, gang), owner_uid="train-uid") for name in ("a", "b")]
    nodes = [a_node(pod.node, pods=(pod,)) for pod in pods]
    choice = choose([*nodes, busy("c", 90.0)], 16, Guards(jobs=(a_job(failures_left=1),)))
    assert names(choice) == ["a", "c"]


def test_a_refused_node_makes_room_for_the_next() -> None:
    kept = busy("a", 0.1)
    kept = replace(kept, pods=(replace(kept.pods[0], keep="is to stay"),))
    choice = choose([kept, busy("b", 9.0)], 8)
    assert names(choice) == ["b"]
    assert "DoNotDisrupt" in choice.refused[NodeName("a")].text


def test_each_lender_keeps_its_own_room() -> None:
    pools = {"x": PoolName("x"), "y": PoolName("y")}
    nodes = [a_node("x1"), a_node("x2"), a_node("y1")]
    places = [
        Place(node=n, worth=n.gpus, home=pools[n.name[0]], turn="xy".index(n.name[0]), eviction=None) for n in nodes
    ]
    need = Need(missing=Gpus(24), room=9, rooms={pools["x"]: 1, pools["y"]: 5}, priority=0)
    assert names(choose_nodes(places, need, survey(nodes, Guards(), NOW))) == ["x1", "y1"]


def test_an_idle_node_of_a_later_lender_comes_before_work_of_the_first() -> None:
    first, second = busy("a", 0.1), a_node("b")
    places = [
        Place(node=first, worth=8, home=PoolName("x"), turn=0, eviction=EVICTION),
        Place(node=second, worth=8, home=PoolName("y"), turn=1, eviction=EVICTION),
    ]
    need = Need(missing=Gpus(8), room=9, rooms={PoolName("x"): 9, PoolName("y"): 9}, priority=0)
    assert names(choose_nodes(places, need, survey([first, second], Guards(), NOW))) == ["b"]


def test_the_rules_stand_in_their_order() -> None:
    assert [rule.__name__ for rule in BUSY_RULES] == [
        "_only_idle_nodes_are_lent",
        "_work_outranks_the_service",
        "_may_be_chance",
        "_gain_is_small",
        "_loss_is_out_of_proportion",
        "_too_many_are_emptied",
        "_pods_cannot_leave",
    ]


@st.composite
def fleets(draw: st.DrawFn) -> list[NodeView]:
    """Up to seven nodes; gangs over several of them, some pods that cannot leave, some priorities."""
    nodes: list[NodeView] = []
    for name in "abcdefg"[: draw(st.integers(1, 7))]:
        pods: list[PodView] = []
        for number in range(draw(st.integers(0, 3))):
            shared = draw(st.sampled_from(["", "", "JobSet research/x", "JobSet research/y"]))
            pod = work(name, draw(st.floats(0, 40)), shared or f"Job research/{name}{number}", 2)
            kept = "is to stay" if draw(st.integers(0, 9)) == 0 else ""
            saved = draw(st.sampled_from([None, Instant(NOW - HOUR)]))
            pods.append(replace(pod, priority=draw(st.integers(0, 2)), keep=kept, saved_at=saved))
        nodes.append(a_node(name, gpus=Gpus(draw(st.sampled_from([4, 8]))), pods=tuple(pods)))
    return nodes


LAWS = settings(deadline=None, max_examples=60)


@LAWS
@given(nodes=fleets(), missing=st.integers(1, 40), room=st.integers(0, 7), allowed=st.integers(0, 12))
def test_never_more_nodes_than_needed_and_none_that_cannot_be_emptied(
    nodes: list[NodeView], missing: int, room: int, allowed: int
) -> None:
    guards = Guards(budgets=(a_budget(allowed),))
    choice = choose(nodes, missing, guards, pool_room=room, priority=1)
    for one in choice.nodes:
        assert sum(other.gpus for other in choice.nodes if other is not one) < missing
        others = [pod for other in choice.nodes if other is not one for pod in other.movable_pods]
        assert obstacles(one, EVICTION, replace(guards, pledged=tuple(others)), NOW) == ()
        assert all(pod.priority <= 1 for pod in one.pods)
        assert 2 * missing >= one.gpus or not one.pods
    assert len(choice.nodes) <= room
    assert not set(names(choice)) & set(choice.refused)


@LAWS
@given(nodes=fleets(), missing=st.integers(1, 40), seed=st.integers(0, 1000))
def test_the_order_in_which_nodes_are_seen_does_not_matter(nodes: list[NodeView], missing: int, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret depends on it
    mixed = [replace(node, pods=tuple(chance.sample(node.pods, len(node.pods)))) for node in nodes]
    chance.shuffle(mixed)
    first, second = choose(nodes, missing, priority=2), choose(mixed, missing, priority=2)
    assert names(first) == names(second)
    assert {name: one.text.split(":")[0] for name, one in first.refused.items()}.keys() == second.refused.keys()


@LAWS
@given(nodes=fleets(), missing=st.integers(4, 8))
def test_one_node_costs_no_more_than_the_newest_would(nodes: list[NodeView], missing: int) -> None:
    """Of nodes of eight GPUs and of one priority, any of which covers the shortage."""
    same = [replace(n, gpus=Gpus(8), pods=tuple(replace(pod, priority=0) for pod in n.pods)) for n in nodes]
    chosen = choose(same, missing)
    stakes = survey(same, Guards(), NOW)
    free = [node for node in same if not obstacles(node, EVICTION, Guards(), NOW)]
    assert len(chosen.nodes) == min(1, len(free))
    if free:
        newest = max(free, key=lambda node: (not node.pods, max((pod.started_at or 0 for pod in node.pods), default=0)))
        assert lost_hours(stakes, chosen.nodes) <= lost_hours(stakes, [newest]) + 1e-9
