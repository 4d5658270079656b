"""Who goes home, when, and who asked for it."""

from dataclasses import replace
from typing import Any

import pytest

from meltguard.api.memory import read_memory, write_memory
from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.fleet import MoveStep, NodeView, PodView
from meltguard.core.memory import Memory, Recalled
from meltguard.core.move_actions import Wanted
from meltguard.core.moves import new_claim
from meltguard.core.policy import Policy, Pool
from meltguard.core.pools import assign, loans_of
from meltguard.core.rest import DAY, SHORTEST_REST
from meltguard.core.returns import BREACH_TIME, breach_since
from meltguard.core.seen import Plan, RecallOrder, RolloutView, Snapshot
from meltguard.core.units import Gpus, Instant, NodeName, PoolName, UnitsPerSecond
from meltguard.core.waiting import PATIENCE
from support.core_values import FREE, PLUS, a_node, a_pod, a_policy, a_pool, a_snapshot

NOW = Instant(10_000.0)
CALM = {FREE: 2.0, PLUS: 1.0}
SURGE = {FREE: 10.0, PLUS: 3.0}
RESEARCH = PoolName("research")


def a_loan(name: str, since: float, pool: str = "research", step: MoveStep = MoveStep.LENT) -> NodeView:
    node = a_node(name, pool)
    pools = (a_pool(pool), a_pool("inference"))
    claim = new_claim(node, (a_policy().key, a_policy().uid), pools, (Instant(since), Instant(since + 90_000.0)))
    return replace(node, claim=replace(claim, step=step), labels={**node.labels, "workload": "inference"})


def seen(*loans: NodeView, offered: dict[Any, float] | None = None, **changes: Any) -> Snapshot:
    pools: list[Pool] = changes.pop("lenders", [a_pool("inference"), a_pool()])
    others = [a_node(f"gpu-0{number}", "inference") for number in (1, 2)] + [a_node(f"r{n}") for n in range(3)]
    nodes = [*others, *loans]
    view = a_snapshot(SURGE if offered is None else offered)
    return replace(view, pools=assign(pools, nodes), loans=loans_of(a_policy().uid, nodes), **changes)


def decided(view: Snapshot, memory: Memory | None = None, policy: Policy | None = None) -> Decision:
    return decide(policy or a_policy(), memory or Memory(), view, NOW)


def homeward(decision: Decision) -> dict[NodeName, str]:
    return {name: intent.why for name, intent in decision.intents.items() if intent.wanted is Wanted.HOME}


def an_order(*nodes: str, before: float = NOW) -> dict[PoolName, RecallOrder]:
    return {RESEARCH: RecallOrder(nodes=frozenset(nodes), before=Instant(before), reason="recalled by ada: a deadline")}


LOANS = (a_loan("old", 1000.0), a_loan("young", 2000.0))


def test_a_node_on_which_nothing_serves_is_given_back_whatever_its_size() -> None:
    """Counted as if it served, a large one would never be spared: it would stay until its loan is due."""
    large = replace(a_loan("large", 1000.0), gpus=Gpus(1000))
    assert decided(seen(large, offered=CALM)).memory.spare_since == NOW


def test_what_the_calendar_asks_for_stays_in_the_calm_and_no_more_than_that() -> None:
    memory = Memory(spare_since=Instant(NOW - 500.0))
    for least, leave in ((0, {NodeName("young")}), (1, {NodeName("young")}), (2, set())):
        out = decided(seen(*LOANS, offered=CALM, plan=Plan(least=least, why="until 18:00")), memory)
        assert homeward(out).keys() == leave
        assert ("until 18:00" in out.why) == (least > 0)
    recalled = seen(*LOANS, offered=CALM, plan=Plan(least=2, why="until 18:00"), recalls=an_order())
    assert homeward(decided(recalled)).keys() == {"old", "young"}, "the lender's word is above a calendar"


def test_a_ready_pod_whose_agent_is_silent_serves_as_far_as_anybody_knows() -> None:
    pod = a_pod("server", namespace="serving", owner_kind="ReplicaSet", gpus=Gpus(1000))
    large = replace(a_loan("large", 1000.0), gpus=Gpus(1000), pods=(pod,))
    assert decided(seen(large, offered=CALM)).memory.spare_since is None
    starting = replace(large, pods=(replace(pod, ready=False),))
    assert decided(seen(starting, offered=CALM)).memory.spare_since == NOW


def test_an_order_calls_all_loans_of_its_pool_in_the_middle_of_a_surge() -> None:
    assert set(homeward(decided(seen(*LOANS, recalls=an_order())))) == {"old", "young"}


def test_an_order_may_name_a_node() -> None:
    assert homeward(decided(seen(*LOANS, recalls=an_order("old")))) == {"old": "recalled by ada: a deadline"}


def test_an_order_means_no_later_loan() -> None:
    assert set(homeward(decided(seen(*LOANS, recalls=an_order(before=1500.0))))) == {"old"}


def hungry(memory: Memory, now: float) -> Decision:
    """What is decided in a surge that has lasted, with nothing on loan."""
    return decide(a_policy(), replace(memory, short_since=Instant(NOW - 60.0)), seen(), Instant(now))


def test_who_is_being_called_home_is_not_fetched_again_in_the_same_breath() -> None:
    """The surge goes on, and the lender has a node that it could lend."""
    surge = Memory(short_since=Instant(NOW - 60.0))
    assert decided(seen(LOANS[0], offered={FREE: 40.0}), surge).borrow != ()
    called = decided(seen(LOANS[0], offered={FREE: 40.0}, recalls=an_order()), surge)
    assert called.borrow == ()
    assert [one.text for one in called.rules if one.rule == "lender has rested"] == [
        "pool research is calling nodes back"
    ]


def refused(decision: Decision) -> list[str]:
    return [rule.rule for rule in decision.rules if not rule.holds]


def test_a_lender_that_recalled_is_left_alone_for_a_while() -> None:
    first = decided(seen(*LOANS, recalls=an_order()))
    assert first.memory.recalled == {RESEARCH: Recalled(at=NOW, times=1)}
    soon = hungry(first.memory, NOW + SHORTEST_REST - 1.0)
    assert refused(soon) == ["lender has rested"]
    assert soon.borrow == ()
    assert hungry(first.memory, NOW + SHORTEST_REST).borrow


def test_each_recall_within_a_day_is_rested_from_for_twice_as_long() -> None:
    memory = decided(seen(*LOANS, recalls=an_order())).memory
    goes_on = decide(a_policy(), memory, seen(*LOANS, recalls=an_order()), Instant(NOW + 2.0)).memory
    assert goes_on.recalled == {RESEARCH: Recalled(at=Instant(NOW + 2.0), times=1)}
    between = decide(a_policy(), goes_on, seen(), Instant(NOW + 4.0)).memory
    again = decide(a_policy(), between, seen(*LOANS, recalls=an_order()), Instant(NOW + 600.0)).memory
    assert again.recalled == {RESEARCH: Recalled(at=Instant(NOW + 600.0), times=2)}
    assert refused(hungry(again, NOW + 600.0 + SHORTEST_REST)) == ["lender has rested"]
    assert hungry(again, NOW + 600.0 + 2 * SHORTEST_REST).borrow


def test_a_recall_a_day_ago_is_forgiven() -> None:
    memory = Memory(recalled={RESEARCH: Recalled(at=NOW, times=5)})
    assert hungry(memory, NOW + DAY).memory.recalled == {}
    assert read_memory(write_memory(memory)) == memory


def broken(*loans: NodeView, since: float | None = NOW - BREACH_TIME, floor: int = 4) -> Decision:
    """Three nodes are at home."""
    lending = a_pool().lending
    assert lending is not None
    lenders = [a_pool("inference"), replace(a_pool(), lending=replace(lending, floor=floor))]
    memory = Memory() if since is None else Memory(breach_since={RESEARCH: Instant(since)})
    return decided(seen(*loans, lenders=lenders), memory)


def test_a_floor_that_stays_broken_calls_the_youngest_home() -> None:
    assert homeward(broken(*LOANS)) == {"young": "pool research has had 3 nodes for a minute, its floor is 4"}
    assert broken(*LOANS).memory.recalled == {RESEARCH: Recalled(at=NOW, times=1)}


def test_a_floor_calls_no_more_home_than_it_lacks() -> None:
    """What is on its way counts: a floor that lacks one node must not empty the service node by node."""
    leaving = a_loan("young", 2000.0, step=MoveStep.RECALLED)
    assert not homeward_of("old", broken(LOANS[0], leaving))
    assert homeward_of("old", broken(LOANS[0], leaving, floor=5))


def homeward_of(name: str, decision: Decision) -> str:
    return homeward(decision).get(NodeName(name), "")


def test_a_floor_broken_for_a_moment_calls_nothing_home() -> None:
    assert broken(*LOANS, since=None).memory.breach_since == {RESEARCH: NOW}
    assert not homeward(broken(*LOANS, since=None))
    assert not homeward(broken(*LOANS, since=NOW - BREACH_TIME + 1.0))
    assert broken(*LOANS, floor=3).memory.breach_since == {}


def test_one_lenders_breach_is_not_anothers() -> None:
    """A pool that fell short just now waits its minute, however long another has."""
    short = replace(a_pool("burst"), lending=a_pool().lending)
    rented = a_loan("rented", 500.0, "burst")
    memory = Memory(breach_since={RESEARCH: Instant(NOW - 600.0)})
    view = seen(*LOANS, rented, lenders=[a_pool("inference"), a_pool(), short])
    assert breach_since(view, memory, NOW) == {"burst": NOW}


def waiting(priority: int, pool: str = "research", **changes: Any) -> PodView:
    stuck = Instant(NOW - PATIENCE)
    asked = {"node": NodeName(""), "node_selector": {"workload": pool}, "stuck_since": stuck, **changes}
    return a_pod("big", priority=priority, **asked)


def test_work_of_higher_priority_calls_the_youngest_loan_home() -> None:
    view = seen(*LOANS, pending=(waiting(100),), priority=50)
    assert homeward(decided(view)) == {
        "young": "pod research/big of priority 100 waits for a node of pool research, the borrower's priority is 50"
    }


UNMOVED = {
    "that was displaced: its priority is not above": waiting(50),
    "for other nodes": waiting(100, "other"),
    "that asks for more than these nodes have": waiting(100, gpus=Gpus(16)),
    "for another zone": waiting(100, node_selector={"workload": "research", "zone": "b"}),
    "that names no pool": waiting(100, node_selector={}),
    "that the scheduler may still place": waiting(100, stuck_since=None),
    "that waits for a moment only": waiting(100, stuck_since=Instant(NOW - PATIENCE + 1.0)),
}


@pytest.mark.parametrize("pod", UNMOVED.values(), ids=UNMOVED)
def test_work_calls_nothing_home(pod: PodView) -> None:
    assert not homeward(decided(seen(*LOANS, pending=(pod,), priority=50)))


def test_work_calls_the_node_home_that_it_fits() -> None:
    """By what the node is at home: its labels are the borrower's now."""
    other = a_loan("other", 3000.0)
    other = replace(other, labels={**other.labels, "zone": "b"})
    pod = waiting(100, node_selector={"workload": "research", "zone": "a"})
    assert list(homeward(decided(seen(*LOANS, other, pending=(pod,), priority=50)))) == ["young"]


def test_one_node_on_its_way_home_may_be_all_that_is_waited_for() -> None:
    loans = (LOANS[0], a_loan("young", 2000.0, step=MoveStep.RECALLED))
    assert not homeward(decided(seen(*loans, pending=(waiting(100),), priority=50)))


def test_nothing_is_borrowed_that_would_be_called_home_at_once() -> None:
    memory = Memory(short_since=Instant(NOW - 60.0))
    assert decided(seen(), memory).borrow
    blocked = decided(seen(pending=(waiting(100),), priority=50), memory)
    assert refused(blocked) == ["nobody of rank waits"]
    assert blocked.borrow == ()


def test_calm_sends_the_dearest_home_first_then_the_youngest() -> None:
    dear = a_pool("burst", lending=a_pool().lending, cost=4.0)
    cheap = replace(a_pool(), cost=1.8)
    lenders = [a_pool("inference"), cheap, dear]
    loans = (*LOANS, a_loan("rented", 500.0, "burst"))
    policy = a_policy()
    assert policy.capacity is not None
    policy = replace(policy, capacity=replace(policy.capacity, borrow_from=(RESEARCH, PoolName("burst")), max_loans=9))
    view = replace(seen(*loans, offered=CALM, lenders=lenders), ready_pods=8)
    view = replace(view, loads=tuple(replace(load, gpus=Gpus(8)) for load in view.loads))
    memory = Memory(spare_since=Instant(NOW - 500.0))
    first = decided(view, memory, policy)
    assert list(homeward(first)) == ["rented"]
    assert first.memory.returned_at == NOW
    without = replace(seen(*LOANS, offered=CALM, lenders=lenders), loads=view.loads)
    assert list(homeward(decided(without, memory, policy))) == ["young"]


def test_a_calm_return_waits_for_an_update_and_an_order_does_not() -> None:
    small = tuple(replace(loan, gpus=Gpus(2)) for loan in LOANS)
    updating = RolloutView(paused=False, mark=None, updating=True)
    memory = replace(Memory(), units_per_gpu=UnitsPerSecond(1.0))
    calm = decided(seen(*small, offered=CALM), memory)
    assert calm.memory.spare_since == NOW
    assert decided(seen(*small, offered=CALM, rollout=updating), memory).memory.spare_since is None
    ordered = decided(seen(*small, offered=CALM, rollout=updating, recalls=an_order()), memory)
    assert set(homeward(ordered)) == {"old", "young"}
