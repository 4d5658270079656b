"""Who goes home, when, and who asked for it."""

from dataclasses import replace
from typing import Any

from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.fleet import MoveStep, NodeView, PodView
from meltguard.core.loan_rules import RECALL_REST
from meltguard.core.move_actions import Wanted
from meltguard.core.moves import new_claim
from meltguard.core.policy import Policy, Pool
from meltguard.core.pools import assign, loans_of
from meltguard.core.seen import Memory, RecallOrder, Snapshot
from meltguard.core.units import Gpus, Instant, NodeName, PoolName
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


def test_an_order_calls_all_loans_of_its_pool_in_the_middle_of_a_surge() -> None:
    assert set(homeward(decided(seen(*LOANS, recalls=an_order())))) == {"old", "young"}


def test_an_order_may_name_a_node() -> None:
    assert homeward(decided(seen(*LOANS, recalls=an_order("old")))) == {"old": "recalled by ada: a deadline"}


def test_an_order_means_no_later_loan() -> None:
    assert set(homeward(decided(seen(*LOANS, recalls=an_order(before=1500.0))))) == {"old"}


def test_a_lender_that_recalled_is_left_alone_for_a_while() -> None:
    first = decided(seen(*LOANS, recalls=an_order()))
    assert first.memory.recalled == {RESEARCH: NOW}
    held = replace(first.memory, short_since=Instant(NOW - 60.0), rested={})
    soon = decide(a_policy(), held, seen(), Instant(NOW + 60.0))
    refused = [rule.rule for rule in soon.rules if not rule.holds]
    assert "lender has rested" in refused
    assert soon.borrow == ()
    later = decide(a_policy(), replace(held, level_since=NOW), seen(), Instant(NOW + RECALL_REST + 1.0))
    assert "lender has rested" not in [rule.rule for rule in later.rules if not rule.holds]
    assert later.memory.recalled == {}


def waiting(priority: int, pool: str = "research") -> PodView:
    return a_pod("big", node=NodeName(""), priority=priority, node_selector={"workload": pool})


def test_work_of_higher_priority_calls_the_youngest_loan_home() -> None:
    view = seen(*LOANS, pending=(waiting(100),), priority=50)
    assert homeward(decided(view)) == {
        "young": "pod research/big of priority 100 waits for a node of pool research, the borrower's priority is 50"
    }


def test_work_that_was_displaced_calls_nothing_home() -> None:
    """It had to leave because its priority is not above the borrower's."""
    assert not homeward(decided(seen(*LOANS, pending=(waiting(50),), priority=50)))


def test_work_for_other_nodes_calls_nothing_home() -> None:
    assert not homeward(decided(seen(*LOANS, pending=(waiting(100, "other"),), priority=50)))


def test_one_node_on_its_way_home_may_be_all_that_is_waited_for() -> None:
    loans = (LOANS[0], a_loan("young", 2000.0, step=MoveStep.RECALLED))
    assert not homeward(decided(seen(*loans, pending=(waiting(100),), priority=50)))


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
