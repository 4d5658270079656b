"""What is missing, and of what: GPUs such as serve today; a node counts for what its own do."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.core.decide import decide
from meltguard.core.decision import Decision, Outcome
from meltguard.core.fleet import MoveStep, NodeView
from meltguard.core.load import PodLoad
from meltguard.core.loading import Loading
from meltguard.core.memory import Held, Memory
from meltguard.core.moves import new_claim
from meltguard.core.policy import Level
from meltguard.core.pools import assign
from meltguard.core.seen import Snapshot
from meltguard.core.units import Gpus, Instant, NodeName, Seconds, Share, Units, UnitsPerSecond
from support.core_values import FREE, PLUS, a_load, a_node, a_policy, a_pool, a_snapshot

NOW = Instant(10_000.0)
WHOLE, SLICE = "nvidia.com/gpu", "nvidia.com/mig-1g.10gb"


def rule(decision: Decision, name: str) -> Outcome:
    return next(one for one in decision.rules if one.rule == name)


def missing(decision: Decision) -> int:
    assert decision.shortage is not None
    return decision.shortage.missing


def a_card(name: str, product: str, pool: str = "research", **kinds: int) -> NodeView:
    counts = {kind: Gpus(count) for kind, count in (kinds or {WHOLE: 8}).items()}
    node = a_node(name, pool, gpus=Gpus(sum(counts.values())), by_kind=counts)
    return replace(node, labels={**node.labels, "nvidia.com/gpu.product": product})


SPEEDS = {
    f"A10 {WHOLE}": (UnitsPerSecond(1.0), Units(600.0)),
    f"H100 {WHOLE}": (UnitsPerSecond(5.0), Units(600.0)),
    f"T4 {WHOLE}": (UnitsPerSecond(0.25), Units(600.0)),
    f"H100 {SLICE}": (UnitsPerSecond(0.5), Units(600.0)),
}
KNOWN = Memory(
    speeds=SPEEDS,
    units_per_gpu=UnitsPerSecond(1.0),
    evidence=Units(600.0),
    short_since=Instant(NOW - 60.0),
    decided_at=Instant(NOW - 2.0),
)


def short_of(demand: float, *lendable: NodeView, memory: Memory = KNOWN) -> Decision:
    """Eight A10 serve, one unit a second each; the lender keeps nothing."""
    lending = a_pool().lending
    assert lending is not None
    pools = [a_pool("inference"), a_pool(lending=replace(lending, floor=0, max_loans=9))]
    seen = a_snapshot({FREE: demand}, {FREE: 100.0}, pools=assign(pools, lendable), gpu_kinds=frozenset({WHOLE}))
    models = {load.pod: f"A10 {WHOLE}" for load in seen.loads}
    policy = a_policy()
    assert policy.capacity is not None
    wide = replace(policy, capacity=replace(policy.capacity, max_loans=9))
    return decide(wide, memory, replace(seen, models=models), NOW)


def taken(decision: Decision) -> list[str]:
    return [borrow.node for borrow in decision.borrow]


def test_one_node_of_a_fast_model_is_enough() -> None:
    """39 A10 are missing: one node of eight H100 does more than them, five of A10 would be needed."""
    found = short_of(46.0, *(a_card(f"n{number}", "H100") for number in range(5)))
    assert missing(found) == 39
    assert taken(found) == ["n0"]
    assert "relieves 39 of 39 missing GPUs (100%)" in rule(found, "a node fits").text


def test_of_a_slow_model_more_nodes_are_needed() -> None:
    found = short_of(11.7, *(a_card(f"n{number}", "T4") for number in range(5)))
    assert missing(found) == 4
    assert taken(found) == ["n0", "n1"]
    assert "relieves 2 of 4 missing GPUs (50%)" in rule(found, "a node fits").text


def test_the_fewest_nodes_are_taken_by_what_they_do() -> None:
    found = short_of(46.0, a_card("a", "T4"), a_card("b", "A10"), a_card("c", "H100"))
    assert taken(found) == ["c"]


def test_a_model_that_never_served_counts_by_its_gpus() -> None:
    assert taken(short_of(15.0, a_card("a", "L40"), a_card("b", "L40"))) == ["a"]


def test_of_a_mixed_node_only_what_pods_ask_for_relieves() -> None:
    """Four whole cards and 28 slices: four GPUs for a service that asks for whole ones."""
    nodes = [a_card(f"n{number}", "A10", **{WHOLE: 4, SLICE: 28}) for number in range(4)]
    found = short_of(15.0, *nodes)
    assert missing(found) == 8
    assert taken(found) == ["n0", "n1"]


def test_what_arrives_counts_by_what_it_does() -> None:
    node = a_card("n0", "H100")
    claim = new_claim(node, ("serving/image-gen", "policy-uid"), (a_pool(), a_pool("inference")), (NOW, NOW))
    coming = replace(node, claim=replace(claim, step=MoveStep.CORDONED, due=Instant(NOW + 900.0)))
    seen = a_snapshot({FREE: 46.0}, {FREE: 100.0}, loans=(coming,), gpu_kinds=frozenset({WHOLE}))
    seen = replace(seen, models={load.pod: f"A10 {WHOLE}" for load in seen.loads})
    assert missing(decide(a_policy(), KNOWN, seen, NOW)) == 0


@settings(deadline=None, max_examples=60)
@given(
    demand=st.floats(9.0, 80.0),
    products=st.lists(st.sampled_from(["A10", "H100", "T4", "L40"]), max_size=7),
)
def test_no_more_is_taken_than_needed_and_no_less_than_there_is(demand: float, products: list[str]) -> None:
    """Law: what is taken covers the shortage or is all; without any one of the nodes it would not cover it."""
    nodes = [a_card(f"n{number}", product) for number, product in enumerate(products)]
    found = short_of(demand, *nodes)
    assert found.shortage is not None
    worth = {node.name: found.shortage.worth(node) for node in nodes}
    total = sum(worth[name] for name in taken(found))
    assert total >= missing(found) - 0.02 or len(taken(found)) == len(nodes)
    assert all(total - worth[name] < missing(found) for name in taken(found))


SURGE, QUEUE = {FREE: 10.0, PLUS: 3.0}, {FREE: 60.0}


def unready(offered: Any = None, waiting: Any = None, **seen: Any) -> Snapshot:
    """The eight pods have so much to do that they fail their readiness; their agents answer."""
    found = a_snapshot(SURGE if offered is None else offered, QUEUE if waiting is None else waiting)
    return replace(found, **{"ready_pods": 0, "loads": (), "unready_pods": 8, "unready": found.loads, **seen})


def passes(seen: Snapshot, count: int, memory: Memory | None = None) -> Decision:
    decision = decide(a_policy(), memory or Memory(), seen, NOW)
    for _ in range(1, count):
        decision = decide(a_policy(), decision.memory, seen, Instant(decision.at + 2.0))
    return decision


def test_pods_that_overload_made_unready_are_heard() -> None:
    """Their users are users, and wait: the level rises, and a node is borrowed; capacity they are none."""
    found = passes(unready(), 3)
    assert found.level >= Level.OVERLOADED
    assert sum(limit.demand for limit in found.limits) == pytest.approx(13.0)
    wait = next(signal for signal in found.signals if signal.name == "wait")
    assert wait.value == pytest.approx(60.0 / 8.0)
    assert (found.capacity, found.budget) == (0.0, None)
    assert rule(found, "agents answer").holds
    assert taken(found) == ["gpu-04"]


def test_what_unready_pods_work_off_need_not_be_borrowed_again() -> None:
    assert missing(passes(unready(), 3)) == missing(passes(a_snapshot(SURGE, QUEUE), 3)) == 6


def test_their_limits_hold_as_they_were() -> None:
    held = Memory(limits={FREE: Held(rate=UnitsPerSecond(2.5), since=NOW)}, units_per_gpu=UnitsPerSecond(1.0))
    found = decide(a_policy(), held, unready(), NOW)
    assert [limit.rate for limit in found.limits] == [2.5, None]


def test_the_demand_at_unready_pods_is_added_to_that_at_ready_ones() -> None:
    half = a_snapshot(SURGE, QUEUE)
    some = replace(half, ready_pods=4, loads=half.loads[:4], unready_pods=4, unready=half.loads[4:])
    found = decide(a_policy(), Memory(), some, NOW)
    assert sum(limit.demand for limit in found.limits) == pytest.approx(13.0)
    assert found.capacity == 4.0


NOTHING_KNOWN = {
    "their agents do not answer": unready(unready=()),
    "they only start, and nobody is sent to them": unready({FREE: 0.0}, {}),
}


@pytest.mark.parametrize("seen", NOTHING_KNOWN.values(), ids=NOTHING_KNOWN)
def test_nothing_is_concluded_from_pods_that_say_nothing(seen: Snapshot) -> None:
    before = Memory(
        level=Level.OVERLOADED,
        level_since=Instant(1.0),
        demand={FREE: UnitsPerSecond(9.0)},
        limits={FREE: Held(rate=UnitsPerSecond(2.5), since=NOW)},
        decided_at=Instant(NOW - 2.0),
        short_since=Instant(NOW - 60.0),
    )
    found = passes(replace(seen, readings=()), 60, before)
    assert found.level is Level.OVERLOADED
    assert [limit.rate for limit in found.limits] == [2.5, None]
    assert found.memory.demand == before.demand
    assert not rule(found, "agents answer").holds
    assert found.borrow == ()


def test_a_pod_that_starts_hides_no_silence_of_the_others() -> None:
    """Ready pods that do not answer may have any demand: what a starting pod is not asked for is not theirs."""
    starting = a_load(9, {FREE: 0.0}, {}, 0.0)
    before = passes(a_snapshot(SURGE, QUEUE), 4)
    quiet = a_snapshot(SURGE, loads=(), unready_pods=1, unready=(starting,), readings=())
    after = passes(quiet, 60, before.memory)
    assert after.level is before.level
    assert [limit.rate for limit in after.limits] == [limit.rate for limit in before.limits]


def test_where_few_of_the_running_pods_answer_no_node_moves() -> None:
    found = passes(replace(unready(), unready_pods=16), 3)
    assert rule(found, "agents answer").text.startswith("no pod is Ready; 8 of 16 that run answer")
    assert found.borrow == ()


def test_loans_whose_pods_overload_made_unready_are_not_late() -> None:
    node = a_node("gpu-04")
    claim = new_claim(node, ("serving/image-gen", "policy-uid"), (a_pool(), a_pool("inference")), (NOW, NOW))
    lent = replace(node, claim=replace(claim, step=MoveStep.LENT, lent_at=Instant(1.0), due=Instant(NOW + 900.0)))
    seen = unready(loans=(lent,))

    def served(*loads: PodLoad) -> Outcome:
        memory = Memory(loading=Loading(usual=Seconds(40.0), starts=8), short_since=Instant(NOW - 60.0))
        return rule(decide(a_policy(), memory, replace(seen, unready=loads, unready_pods=8), NOW), "loans serve")

    there = tuple(replace(load, node=NodeName("gpu-04")) for load in seen.unready)
    assert served(*there).holds
    idle = tuple(replace(load, busy=Share(0.0), tiers={}) for load in there[4:])
    assert not served(*seen.unready[:4], *idle).holds  # they never began


@settings(deadline=None, max_examples=60)
@given(free=st.floats(0.1, 30.0), plus=st.floats(0.1, 10.0), queue=st.floats(0.0, 200.0), gone=st.integers(0, 8))
def test_a_pod_that_falls_unready_never_lowers_the_pressure_nor_raises_a_limit(
    free: float, plus: float, queue: float, gone: int
) -> None:
    """Law: overload that shows in readiness shows no less in what is decided."""
    every = a_snapshot({FREE: free, PLUS: plus}, {FREE: queue})
    told = tuple(
        replace(load, tiers={name: replace(tier, for_gpu=tier.waiting) for name, tier in load.tiers.items()})
        for load in every.loads
    )
    some = replace(every, loads=told[gone:], ready_pods=8 - gone, unready_pods=gone, unready=told[:gone])
    whole, part = passes(replace(every, loads=told), 3), passes(some, 3)
    assert part.level >= whole.level
    before, after = ([float("inf") if x.rate is None else x.rate for x in one.limits] for one in (whole, part))
    if gone < 8:
        assert all(now <= then + 1e-9 for then, now in zip(before, after, strict=True))
