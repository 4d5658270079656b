"""Which loan goes home for another service, by the whole decision."""

from dataclasses import replace
from typing import Any

import pytest

from meltguard.api.memory import read_memory, write_memory
from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.fleet import MoveStep, NodeView
from meltguard.core.memory import Memory
from meltguard.core.move_actions import Wanted
from meltguard.core.moves import new_claim
from meltguard.core.policy import Mode, Policy
from meltguard.core.pools import assign, loans_of
from meltguard.core.seen import RecallOrder
from meltguard.core.sharing import BETWEEN, WAITS, Peer
from meltguard.core.units import Gpus, Instant, NodeName, PoolName
from support.core_values import FREE, a_node, a_policy, a_pool, a_snapshot

NOW = Instant(10_000.0)
RESEARCH, LAB = PoolName("research"), PoolName("lab")


def a_loan(name: str, since: float, step: MoveStep = MoveStep.LENT) -> NodeView:
    node = a_node(name)
    pools = (a_pool(), a_pool("inference"))
    claim = new_claim(node, (a_policy().key, a_policy().uid), pools, (Instant(since), Instant(since + 90_000.0)))
    return replace(node, claim=replace(claim, step=step), labels={**node.labels, "workload": "inference"})


def a_peer(**changes: Any) -> Peer:
    """It has nothing, and has waited for a node of research for long enough."""
    peer = Peer(
        key="serving/late",
        priority=1,
        weight=1,
        held=Gpus(0),
        missing=Gpus(16),
        lenders=frozenset({RESEARCH}),
        finds_none={RESEARCH: Instant(NOW - WAITS)},
        at=NOW,
    )
    return replace(peer, **changes)


LOANS = (a_loan("old", 1000.0), a_loan("young", 2000.0))


def decided(
    *peers: Peer, loans: tuple[NodeView, ...] = LOANS, memory: Memory | None = None, **changes: Any
) -> Decision:
    """In a surge that goes on, by a policy with these loans."""
    policy: Policy = changes.pop("policy", a_policy())
    nodes = [*(a_node(f"r{number}") for number in range(3)), *loans]
    view = a_snapshot({FREE: 40.0}, peers=peers, loans=loans_of(policy.uid, nodes), **changes)
    view = replace(view, pools=assign([a_pool("inference"), a_pool()], nodes))
    return decide(policy, memory or Memory(), view, NOW)


def given_up(decision: Decision) -> dict[NodeName, str]:
    return {name: intent.why for name, intent in decision.intents.items() if intent.wanted is Wanted.HOME}


def test_the_youngest_loan_goes_home_for_who_waits_and_it_says_for_whom() -> None:
    decision = decided(a_peer())
    assert given_up(decision) == {
        "young": "serving/late waits for a node of pool research and has 0 GPUs on loan for a weight of 1, "
        "serving/image-gen has 16 for 1"
    }
    assert decision.memory.yielded == ("young", NOW)


KEEPS: dict[str, dict[str, Any]] = {
    "it did not wait long enough": {"finds_none": {RESEARCH: Instant(NOW - WAITS + 1.0)}},
    "it finds nodes": {"finds_none": {}},
    "it waited at another lender": {"finds_none": {RESEARCH: NOW, LAB: Instant(NOW - WAITS)}},
    "it wants another lender's": {"lenders": frozenset({LAB})},
    "it has as much": {"held": Gpus(16)},
    "it would have more than we then": {"held": Gpus(8)},
    "it wants nothing": {"missing": Gpus(0)},
}


@pytest.mark.parametrize("changes", KEEPS.values(), ids=KEEPS)
def test_nothing_is_given_up_where(changes: dict[str, Any]) -> None:
    decision = decided(a_peer(**changes))
    assert given_up(decision) == {}
    assert decision.memory.yielded is None


def test_by_weight_one_of_two_is_given_to_who_has_one_and_twice_the_weight() -> None:
    assert set(given_up(decided(a_peer(held=Gpus(8), weight=2)))) == {"young"}


def test_priority_takes_from_who_has_as_little() -> None:
    assert set(given_up(decided(a_peer(held=Gpus(16), priority=5)))) == {"young"}


def test_a_node_is_asked_for_until_it_is_on_its_way_and_then_none_for_two_minutes() -> None:
    """The memory is what a crash leaves of it."""
    first = decided(a_peer()).memory
    kept = read_memory(write_memory(replace(first, yielded=("young", Instant(NOW - 30.0)))))  # type: ignore[arg-type]
    again = decided(a_peer(), memory=kept)
    assert set(given_up(again)) == {"young"}
    assert again.memory.yielded == ("young", NOW - 30.0)
    left = (LOANS[0], a_loan("other", 1500.0))
    assert given_up(decided(a_peer(), loans=left, memory=kept)) == {}
    over = replace(kept, yielded=(NodeName("young"), Instant(NOW - BETWEEN)))
    assert set(given_up(decided(a_peer(), loans=left, memory=over))) == {"other"}


def test_nothing_more_is_given_up_while_a_node_goes_home_anyway() -> None:
    order = {RESEARCH: RecallOrder(nodes=frozenset({"old"}), before=NOW, reason="recalled by ada")}
    assert given_up(decided(a_peer(), recalls=order)) == {"old": "recalled by ada"}


def test_a_node_on_its_way_out_is_not_given_up() -> None:
    loans = (LOANS[0], a_loan("young", 2000.0, MoveStep.CORDONED))
    assert set(given_up(decided(a_peer(), loans=loans))) == {"old"}


def test_a_paused_policy_gives_nothing_up() -> None:
    assert given_up(decided(a_peer(), policy=a_policy(mode=Mode.PAUSED))) == {}


def test_what_is_free_goes_to_who_has_less_first_and_the_rule_says_to_whom() -> None:
    """Two of three nodes at home are the floor: one is free, and it is the other's by now."""
    surge = Memory(short_since=Instant(NOW - 60.0))
    alone = decided(loans=(), memory=surge)
    assert [borrow.home for borrow in alone.borrow] == [RESEARCH]
    both = decided(a_peer(weight=9, held=Gpus(0)), loans=LOANS[:1], memory=surge)
    assert both.borrow == ()
    (said,) = [one for one in both.rules if one.rule == "others have their share"]
    assert not said.holds
    assert said.text == "what pool research can lend goes to serving/late first, by priority and weight"
