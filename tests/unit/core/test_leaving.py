"""Before a node leaves, limits are what they will have to be without it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.fleet import MoveStep, NodeView
from meltguard.core.granting import safe_capacity
from meltguard.core.load import PodLoad
from meltguard.core.memory import Held, Memory
from meltguard.core.move_actions import Wanted
from meltguard.core.moves import new_claim
from meltguard.core.policy import TierState
from meltguard.core.pools import assign
from meltguard.core.seen import RecallOrder, Snapshot
from meltguard.core.units import Gpus, Instant, NodeName, PoolName, TierName, Units, UnitsPerSecond
from support.core_values import FREE, PLUS, a_node, a_pod, a_policy, a_pool, a_snapshot

NOW = Instant(10_000.0)
OWN, LENT = NodeName("gpu-01"), NodeName("gpu-04")
RESEARCH = PoolName("research")
SURGE = {FREE: 6.0, PLUS: 1.5}
"""Nearly all that the eight GPUs do; twice what the four of the service's own node do."""

RECALL = {"recalls": {RESEARCH: RecallOrder(nodes=frozenset(), before=NOW, reason="a deadline")}}


def a_loan(step: MoveStep, due: float = 90_000.0) -> NodeView:
    node = a_node(LENT)
    claim = new_claim(
        node, (a_policy().key, a_policy().uid), (a_pool(), a_pool("inference")), (Instant(1.0), Instant(due))
    )
    return replace(node, claim=replace(claim, step=step))


def for_gpus(load: PodLoad) -> PodLoad:
    """All that waits here waits for a GPU, as agents tell."""
    return replace(load, tiers={name: replace(tier, for_gpu=tier.waiting) for name, tier in load.tiers.items()})


def sight(
    step: MoveStep, offered: dict[Any, float] | None = None, waiting: dict[Any, float] | None = None, **seen: Any
) -> Snapshot:
    """Half of the pods serve on a node that is on loan."""
    due = seen.pop("due", 90_000.0)
    found = a_snapshot(offered or SURGE, waiting)
    loads = tuple(for_gpus(replace(load, node=(OWN, LENT)[number % 2])) for number, load in enumerate(found.loads))
    loan = a_loan(step, due)
    nodes = [a_node(OWN, "inference"), loan, *(a_node(f"r{number}") for number in range(4))]
    pools = assign([a_pool("inference"), a_pool()], nodes)
    return replace(found, loads=loads, loans=(loan,), pools=pools, **seen)


def not_heard(found: Snapshot) -> Snapshot:
    """The pods on the loan became Ready a moment ago: nothing was counted twice by their agents yet."""
    served = tuple(a_pod(f"server-{n}", namespace="serving", node=LENT, gpus=Gpus(1)) for n in range(4))
    own = tuple(load for load in found.loads if load.node == OWN)
    twice = tuple(
        replace(load, tiers={name: replace(one, offered=2.0 * one.offered) for name, one in load.tiers.items()})
        for load in own
    )
    return replace(found, loads=twice, loans=tuple(replace(loan, pods=served) for loan in found.loans))


def a_memory(**changes: Any) -> Memory:
    known = Memory(units_per_gpu=UnitsPerSecond(1.0), evidence=Units(600.0), decided_at=Instant(NOW - 2.0))
    return replace(known, **{"demand": {name: UnitsPerSecond(rate) for name, rate in SURGE.items()}, **changes})


def rates(decision: Decision) -> list[float]:
    return [float("inf") if limit.rate is None else limit.rate for limit in decision.limits]


def test_a_surge_that_the_gpus_can_bear_limits_nobody() -> None:
    calm = decide(a_policy(), a_memory(), sight(MoveStep.LENT), NOW)
    assert (calm.capacity, calm.leaving) == (8.0, frozenset())
    assert rates(calm) == [float("inf"), float("inf")]


GOES = {
    "it was recalled": sight(MoveStep.RECALLED),
    "its pods are gone, as far as the step tells": sight(MoveStep.RESTORED),
    "its lender orders it home in this pass": sight(MoveStep.LENT, **RECALL),
    "its time is over": sight(MoveStep.LENT, due=NOW - 1.0),
    "its lender's floor is broken": replace(
        sight(MoveStep.LENT), pools=assign([a_pool("inference"), a_pool()], [a_loan(MoveStep.LENT)])
    ),
    "the policy borrows from there no more": sight(MoveStep.LENT, namespace_labels={}),
    "it had just begun to serve": not_heard(sight(MoveStep.RECALLED)),
}


@pytest.mark.parametrize("seen", GOES.values(), ids=GOES)
def test_from_the_pass_on_that_sends_a_node_home_limits_do_without_it(seen: Snapshot) -> None:
    """The GPUs of all pods are still at work, nothing waits and the level is Normal: the queue is yet to come."""
    memory = a_memory(breach_since={RESEARCH: Instant(NOW - 600.0)})
    decision = decide(a_policy(), memory, seen, NOW)
    assert decision.leaving == {LENT}
    assert decision.capacity == 4.0
    free, plus = rates(decision)
    assert free == pytest.approx(4.0 - 1.5, abs=0.1)  # the budget fills half a wait target
    assert plus == float("inf")


def test_a_calm_return_limits_nobody() -> None:
    memory = a_memory(demand={}, spare_since=Instant(NOW - 600.0))
    decision = decide(a_policy(), memory, sight(MoveStep.LENT, {FREE: 2.0, PLUS: 1.0}), NOW)
    assert decision.intents[LENT].wanted is Wanted.HOME
    assert (decision.capacity, decision.leaving) == (4.0, {LENT})
    assert [limit.state for limit in decision.limits] == [TierState.OPEN, TierState.OPEN]
    assert decision.borrow == ()


def test_the_node_that_goes_is_counted_on_no_more_by_what_is_borrowed() -> None:
    memory = a_memory(short_since=Instant(NOW - 60.0))
    stays = decide(a_policy(), memory, sight(MoveStep.LENT), NOW)
    goes = decide(a_policy(), memory, sight(MoveStep.LENT, due=NOW - 1.0), NOW)
    assert stays.shortage is not None
    assert goes.shortage is not None
    assert (stays.shortage.missing, goes.shortage.missing) == (0, 4)


def test_where_nothing_stays_what_was_promised_holds() -> None:
    """Promising nothing would refuse those whom the node can serve still."""
    seen = sight(MoveStep.RECALLED)
    alone = replace(seen, loads=tuple(replace(load, node=LENT) for load in seen.loads))
    memory = a_memory(limits={FREE: Held(rate=UnitsPerSecond(3.0), since=NOW)})
    decision = decide(a_policy(), memory, alone, NOW)
    assert decision.capacity == 0.0
    assert rates(decision) == [3.0, float("inf")]
    assert decision.shortage is not None
    assert decision.shortage.missing == 8
    assert safe_capacity(decision, 8) == 8.0  # agents without a lease are no better off with nothing at all


def test_idle_gpus_that_leave_are_none_to_give_away() -> None:
    """The limits that the recall brought idle them: no sign that more could be let in."""
    seen = sight(MoveStep.RECALLED)
    seen = replace(seen, loads=tuple(replace(load, busy=0.48, done=0.48) for load in seen.loads))
    memory = a_memory(limits={FREE: Held(rate=UnitsPerSecond(2.4), since=NOW, rising=False, turned=NOW)})
    for number in range(60):
        decision = decide(a_policy(), memory, seen, Instant(NOW + 2.0 * number))
        memory = decision.memory
        assert rates(decision)[0] <= 2.6
    assert memory.trim == pytest.approx(1.0, abs=0.02)


units = st.floats(0.0, 20.0)
limits = st.builds(
    Held,
    rate=st.floats(0.0, 12.0),
    since=st.just(NOW),
    rising=st.booleans(),
    turned=st.floats(NOW - 200.0, NOW),
)


@settings(deadline=None, max_examples=200)
@given(
    offered=st.fixed_dictionaries({FREE: units, PLUS: units}),
    queue=st.floats(0.0, 200.0),
    held=st.none() | limits,
    work=st.tuples(st.floats(0.05, 1.0), st.floats(0.5, 2.0)),
    passes=st.integers(1, 4),
)
def test_no_limit_rises_because_a_node_goes_home(
    offered: dict[TierName, float], queue: float, held: Held | None, work: tuple[float, float], passes: int
) -> None:
    """Law: whatever was held and whatever is seen, with the node on its way no tier has more than without."""
    busy, trim = work

    def after(step: MoveStep) -> list[float]:
        seen = sight(step, offered, {FREE: queue})
        seen = replace(seen, loads=tuple(replace(load, busy=busy, done=busy) for load in seen.loads))
        decision = None
        memory = a_memory(limits={FREE: held} if held else {}, trim=trim, demand={})
        for number in range(passes):
            decision = decide(a_policy(), memory, seen, Instant(NOW + 2.0 * number))
            memory = decision.memory
        assert decision is not None
        return rates(decision)

    for goes, stays in zip(after(MoveStep.RECALLED), after(MoveStep.LENT), strict=True):
        assert goes <= stays + 1e-9
