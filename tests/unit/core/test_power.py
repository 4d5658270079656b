"""A service of two GPU models: what stays is what its own GPUs do, whatever the mix did on average."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.fleet import MoveStep, NodeView
from meltguard.core.memory import Memory
from meltguard.core.move_actions import Wanted
from meltguard.core.moves import new_claim
from meltguard.core.pools import assign, loans_of
from meltguard.core.seen import Snapshot
from meltguard.core.units import Gpus, Instant, NodeName, PodUid, Units, UnitsPerSecond
from support.core_values import FREE, a_node, a_policy, a_pool, a_snapshot

NOW = Instant(10_000.0)


def a_loan() -> NodeView:
    node = a_node("h100")
    at = (Instant(1000.0), Instant(91_000.0))
    claim = new_claim(node, (a_policy().key, a_policy().uid), (a_pool(), a_pool("inference")), at)
    return replace(node, claim=replace(claim, step=MoveStep.LENT), labels={**node.labels, "workload": "inference"})


def seen(*loans: NodeView) -> Snapshot:
    nodes = [a_node("a10", "inference"), *(a_node(f"r{number}") for number in range(3)), *loans]
    pools = assign([a_pool("inference"), a_pool()], nodes)
    return replace(a_snapshot({FREE: 0.0}), pools=pools, loans=loans_of(a_policy().uid, nodes))


def decided(view: Snapshot, memory: Memory) -> Decision:
    return decide(a_policy(), memory, view, NOW)


def homeward(decision: Decision) -> list[NodeName]:
    return [name for name, intent in decision.intents.items() if intent.wanted is Wanted.HOME]


OLD, FAST = NodeName("a10"), NodeName("h100")
SPEEDS = {"A10": (UnitsPerSecond(0.1), Units(600.0)), "H100": (UnitsPerSecond(0.5), Units(600.0))}


def of_two_models(demand: float, old: int = 16, fast: int = 8) -> Snapshot:
    """The service's own GPUs are old ones, a node of fast ones is lent."""
    one = seen().loads[0]
    loads = [
        replace(one, pod=PodUid(f"{node}-{number}"), node=node, tiers={}, busy=0.4, done=0.4 * rate)
        for node, count, rate in ((OLD, old, 0.1), (FAST, fast, 0.5))
        for number in range(count)
    ]
    asked = replace(one, pod=loads[0].pod, node=OLD, busy=0.4, done=0.04)
    asked = replace(asked, tiers={FREE: replace(one.tiers[FREE], offered=demand)})
    models = {load.pod: "A10" if load.node == OLD else "H100" for load in loads}
    view = seen(replace(a_loan(), gpus=Gpus(fast)))
    return replace(view, loads=(asked, *loads[1:]), ready_pods=len(loads), models=models)


def after_calm(demand: float, **changes: Any) -> Decision:
    known = Memory(
        speeds=SPEEDS,
        units_per_gpu=UnitsPerSecond(5.6 / 24),
        evidence=Units(600.0),
        demand={FREE: UnitsPerSecond(demand)},
        spare_since=Instant(NOW - 600.0),
        decided_at=Instant(NOW - 2.0),
    )
    return decided(of_two_models(demand), replace(known, **changes))


def test_what_stays_must_do_by_its_own_models() -> None:
    """16 of the 24 GPUs stay, but not two thirds of the work: 1.6 of 5.6 units a second."""
    assert not homeward(after_calm(2.2))
    assert after_calm(2.2).memory.spare_since is None
    assert homeward(after_calm(1.2)) == ["h100"]


@settings(deadline=None, max_examples=60)
@given(demand=st.floats(0.0, 6.0), old=st.integers(0, 24), fast=st.integers(1, 16))
def test_no_calm_return_leaves_less_than_is_asked_for(demand: float, old: int, fast: int) -> None:
    """Law: whatever the mix, a node goes home for calm only if what stays bears the demand and a quarter more."""
    memory = Memory(
        speeds=SPEEDS,
        units_per_gpu=UnitsPerSecond(0.3),
        evidence=Units(600.0),
        demand={FREE: UnitsPerSecond(demand)},
        spare_since=Instant(NOW - 600.0),
        decided_at=Instant(NOW - 2.0),
    )
    if homeward(decided(of_two_models(demand, max(1, old), fast), memory)):
        assert demand * 1.25 <= 0.1 * max(1, old) + 1e-9
