"""decide(): what one pass makes of what it sees, and what it refuses to make of what it does not see."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.fleet import OPT_OUT_ANNOTATION
from meltguard.core.loan_rules import LENDER_RULES, LOAN_RULES
from meltguard.core.memory import Memory
from meltguard.core.node_rules import NODE_RULES
from meltguard.core.policy import Level, Mode, Override, Policy, TierState
from meltguard.core.pools import assign
from meltguard.core.seen import Reading, Snapshot
from meltguard.core.units import Instant, PoolName, Seconds, TierName, Units
from support.core_values import FREE, PLUS, a_node, a_pod, a_policy, a_pool, a_snapshot

SURGE = {FREE: 10.0, PLUS: 3.0}
QUEUE = {FREE: 60.0}
LONG_QUEUE = {FREE: 120.0}


def passes(policy: Policy, seen: Snapshot, count: int, memory: Memory | None = None) -> Decision:
    """`count` passes over the same sight, two seconds apart."""
    decision = decide(policy, memory or Memory(), seen, Instant(1000.0))
    for _ in range(1, count):
        decision = decide(policy, decision.memory, seen, Instant(decision.at + 2.0))
    return decision


def rate(decision: Decision, tier: str) -> float | None:
    return next(limit.rate for limit in decision.limits if limit.tier == tier)


def state(decision: Decision, tier: str) -> TierState:
    return next(limit.state for limit in decision.limits if limit.tier == tier)


def test_a_calm_service_is_left_alone() -> None:
    decision = passes(a_policy(), a_snapshot({FREE: 2.0, PLUS: 1.0}), 10)
    assert decision.level is Level.NORMAL
    assert (rate(decision, FREE), rate(decision, PLUS)) == (None, None)
    assert decision.borrow == ()
    assert decision.why.startswith("calm")


def test_one_sample_alone_raises_no_level() -> None:
    assert passes(a_policy(), a_snapshot(SURGE, LONG_QUEUE), 1).level is Level.NORMAL
    assert passes(a_policy(), a_snapshot(SURGE, LONG_QUEUE), 2).level is Level.CRITICAL


def test_the_lowest_tier_gives_way_and_the_paid_one_does_not() -> None:
    decision = passes(a_policy(), a_snapshot(SURGE, QUEUE), 3)
    limited = rate(decision, FREE)
    assert limited is not None
    assert limited < 10.0
    assert rate(decision, PLUS) is None


def test_two_samples_of_a_shortage_borrow_the_fewest_idle_nodes() -> None:
    first = passes(a_policy(), a_snapshot(SURGE, QUEUE), 1)
    assert first.borrow == ()
    second = passes(a_policy(), a_snapshot(SURGE, QUEUE), 3)
    assert [borrow.node for borrow in second.borrow] == ["gpu-04"]
    assert second.borrow[0].to == "inference"


REFUSALS = {
    "prometheus is silent": {"readings": ()},
    "utilization is stale": {"readings": (Reading(signal="use", value=100.0, age=Seconds(61.0)),)},
    "utilization says the GPUs idle": {"readings": (Reading(signal="use", value=3.0, age=Seconds(1.0)),)},
    "half of the pods do not answer": {"ready_pods": 16},
    "the node watch is silent": {"fleet_age": Seconds(76.0)},
    "there is no such pool": {"pools": assign([a_pool("inference")], [a_node()])},
    "the pool lends nothing": {"pools": assign([a_pool("inference"), a_pool(lending=None)], [a_node()])},
    "the namespace may not borrow": {"namespace_labels": {"team": "other"}},
    "the floor would break": {"pools": assign([a_pool()], [a_node("a"), a_node("b")])},
    "the nodes are in use": {"pools": assign([a_pool()], [a_node(f"n{i}", pods=(a_pod(),)) for i in range(5)])},
    "the nodes are cordoned": {"pools": assign([a_pool()], [a_node(f"n{i}", unschedulable=True) for i in range(5)])},
    "the nodes are not managed": {
        "pools": assign([a_pool()], [a_node(f"n{i}", labels={"workload": "research"}) for i in range(5)])
    },
    "the nodes are opted out": {
        "pools": assign([a_pool()], [a_node(f"n{i}", annotations={OPT_OUT_ANNOTATION: "true"}) for i in range(5)])
    },
    "the nodes belong to two pools": {"pools": assign([a_pool(), a_pool("b", labels={"zone": "a"})], [a_node()])},
    "the nodes are under driver upgrade": {
        "pools": assign(
            [a_pool()],
            [
                a_node(f"n{i}", labels={**a_node().labels, "nvidia.com/gpu-driver-upgrade-state": "drain-required"})
                for i in range(5)
            ],
        )
    },
}


@pytest.mark.parametrize("doubt", REFUSALS.values(), ids=REFUSALS)
def test_no_node_moves_on_doubt_and_the_reason_is_said(doubt: dict[str, object]) -> None:
    decision = passes(a_policy(), a_snapshot(SURGE, QUEUE, **doubt), 4)
    assert decision.borrow == ()
    refused = [outcome for outcome in decision.rules if not outcome.holds]
    assert refused
    assert all(outcome.text for outcome in refused)


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.PAUSED])
def test_only_enforce_starts_moves(mode: Mode) -> None:
    assert passes(a_policy(mode=mode), a_snapshot(SURGE, QUEUE), 4).borrow == ()


def test_silent_agents_hold_level_and_limits() -> None:
    surge = passes(a_policy(), a_snapshot(SURGE, QUEUE), 5)
    silent = a_snapshot(SURGE, loads=())
    after = passes(a_policy(), silent, 20, surge.memory)
    assert after.level >= surge.level
    before, now = rate(surge, FREE), rate(after, FREE)
    assert before is not None
    assert now is not None
    assert now <= before


def test_demand_alone_is_never_critical_and_does_not_hold_what_a_wait_made_critical() -> None:
    """A viral surge asks for many times more as long as it lasts: that is what limits are for."""
    viral = a_snapshot({FREE: 60.0, PLUS: 3.0})
    asked = passes(a_policy(), viral, 5)
    assert asked.level is Level.OVERLOADED
    assert asked.pressure is not None
    assert asked.pressure > 1.5
    decision = passes(a_policy(), a_snapshot({FREE: 60.0, PLUS: 3.0}, LONG_QUEUE), 3)
    assert decision.level is Level.CRITICAL
    for _ in range(35):
        decision = decide(a_policy(), decision.memory, viral, Instant(decision.at + 2.0))
    assert decision.level is Level.OVERLOADED


def test_a_level_steps_down_one_at_a_time_after_the_dwell() -> None:
    hot = passes(a_policy(), a_snapshot(SURGE, LONG_QUEUE), 3)
    calm = a_snapshot({FREE: 0.5, PLUS: 0.5})
    levels = []
    decision = hot
    for _ in range(120):
        decision = decide(a_policy(), decision.memory, calm, Instant(decision.at + 2.0))
        levels.append(decision.level)
    assert levels[25] is Level.CRITICAL  # 52 s: the dwell is 60 s
    steps = [before - after for before, after in pairwise(levels)]
    assert set(steps) <= {0, 1}
    assert levels[-1] is Level.NORMAL


def test_limits_lift_slowly_and_entirely() -> None:
    decision = passes(a_policy(), a_snapshot(SURGE, QUEUE), 3)
    calm = a_snapshot({FREE: 3.0, PLUS: 1.0})
    rates: list[float | None] = []
    for _ in range(200):
        decision = decide(a_policy(), decision.memory, calm, Instant(decision.at + 2.0))
        rates.append(rate(decision, FREE))
    assert rates[-1] is None
    finite = [one for one in rates if one is not None]
    assert finite == sorted(finite)


def test_an_override_holds_until_its_time() -> None:
    word = Override(until=Instant(1001.0), reason="launch day", tier=FREE, state=TierState.SUSPEND)
    policy = a_policy(overrides=(word,))
    calm = a_snapshot({FREE: 2.0, PLUS: 1.0})
    held = decide(policy, Memory(), calm, Instant(1000.0))
    assert state(held, FREE) is TierState.SUSPEND
    assert "launch day" in next(limit.cause for limit in held.limits if limit.tier == FREE)
    ended = decide(policy, held.memory, calm, Instant(1002.0))
    assert state(ended, FREE) is not TierState.SUSPEND


@settings(deadline=None)
@given(heat=st.floats(0, 120), hotter=st.floats(0, 60))
def test_a_hotter_service_never_gets_a_higher_limit(heat: float, hotter: float) -> None:
    def limits(celsius: float) -> list[float]:
        readings = (
            Reading(signal="heat", value=celsius, age=Seconds(1.0)),
            Reading(signal="use", value=100.0, age=Seconds(1.0)),
        )
        decision = passes(a_policy(), a_snapshot(SURGE, QUEUE, readings=readings), 3)
        return [float("inf") if limit.rate is None else limit.rate for limit in decision.limits]

    for cool, hot in zip(limits(heat), limits(heat + hotter), strict=True):
        assert hot <= cool + 1e-9


@settings(deadline=None)
@given(backlog=st.floats(0, 500), more=st.floats(0, 500))
def test_a_longer_backlog_never_gets_a_higher_limit(backlog: float, more: float) -> None:
    def limits(units: float) -> list[float]:
        decision = passes(a_policy(), a_snapshot(SURGE, {FREE: Units(units)}), 4)
        return [float("inf") if limit.rate is None else limit.rate for limit in decision.limits]

    for short, long in zip(limits(backlog), limits(backlog + more), strict=True):
        assert long <= short + 1e-9


def served(decision: Decision, offered: dict[TierName, float], queue: float) -> float:
    """The service's queue two seconds on: eight GPUs, a unit a second each, before the limits just decided."""
    limits = {limit.tier: limit.rate for limit in decision.limits}
    admitted = sum(min(rate, limits[tier] if limits[tier] is not None else rate) for tier, rate in offered.items())
    return max(0.0, queue + 2.0 * (admitted - 8.0))


@settings(deadline=None, max_examples=60)
@given(free=st.floats(0.1, 40), plus=st.floats(0.1, 7), queue=st.floats(0, 200))
def test_constant_demand_settles(free: float, plus: float, queue: float) -> None:
    """With the loop closed over a queue, no limit changes direction more than once a minute after the first two."""
    policy, offered = a_policy(capacity=None), {FREE: free, PLUS: plus}
    decision = decide(policy, Memory(), a_snapshot(offered, {FREE: queue}), Instant(1000.0))
    rates: list[float] = []
    for _ in range(180):
        queue = served(decision, offered, queue)
        waiting = {FREE: queue} if rate(decision, FREE) is None else {PLUS: queue}
        decision = decide(policy, decision.memory, a_snapshot(offered, waiting), Instant(decision.at + 2.0))
        limit = rate(decision, FREE)
        rates.append(free if limit is None else min(free, limit))
    for minute in range(2, 6):
        series = rates[30 * minute : 30 * minute + 30]
        moves = [after - before for before, after in pairwise(series) if abs(after - before) > 0.01 * free]
        assert sum((one > 0) != (other > 0) for one, other in pairwise(moves)) <= 1


@settings(deadline=None)
@given(st.integers(0, 8), st.integers(0, 6), st.integers(0, 8))
def test_floors_hold_for_any_fleet(nodes: int, busy: int, floor: int) -> None:
    lender = a_pool(lending=replace(a_pool().lending, floor=floor, max_loans=9))
    members = [a_node(f"n{i}", pods=(a_pod(),) if i < busy else ()) for i in range(nodes)]
    seen = a_snapshot({FREE: 100.0, PLUS: 3.0}, QUEUE, pools=assign([a_pool("inference"), lender], members))
    policy = a_policy()
    wide = replace(policy, capacity=replace(policy.capacity, max_loans=9))
    taken = passes(wide, seen, 4).borrow
    assert nodes - len(taken) >= floor or not taken
    assert {borrow.home for borrow in taken} <= {PoolName("research")}


def test_the_rules_stand_in_their_order() -> None:
    assert [rule.__name__ for rule in LOAN_RULES] == [
        "agents_answer",
        "nodes_are_watched",
        "pressure_is_high",
        "gpus_are_missing",
        "shortage_lasts",
        "platform_confirms",
        "surge_is_plausible",
        "policy_has_room",
        "service_has_rested",
        "loans_serve",
    ]
    assert [rule.__name__ for rule in LENDER_RULES] == [
        "pool_lends",
        "lends_to_namespace",
        "no_window_denies",
        "loan_outlasts_start",
        "lender_has_rested",
        "nobody_of_rank_waits",
        "lender_has_room",
        "lender_keeps_its_floor",
        "others_have_their_share",
    ]
    assert NODE_RULES[0].__name__ == "_unmanaged"


@settings(deadline=None, max_examples=25)
@given(guess=st.floats(0.05, 20.0))
def test_a_wrong_first_estimate_mends_itself_even_where_limits_idle_the_gpus(guess: float) -> None:
    """A capacity believed too low suspends a tier; the GPUs that still work tell the truth, and the tier comes back."""
    policy = a_policy(capacity=replace(a_policy().capacity, units_per_gpu=guess, max_loans=0))
    offered = {FREE: 3.0, PLUS: 2.0}  # five of the eight units that the GPUs really do
    decision = decide(policy, Memory(), a_snapshot(offered), Instant(1000.0))
    for _ in range(300):
        free = rate(decision, FREE)
        admitted = {FREE: 3.0 if free is None else min(3.0, free), PLUS: 2.0}
        seen = a_snapshot(offered)
        busy = sum(admitted.values()) / 8
        loads = tuple(replace(load, busy=busy, done=busy) for load in seen.loads)
        decision = decide(policy, decision.memory, replace(seen, loads=loads), Instant(decision.at + 2.0))
    assert decision.capacity == pytest.approx(8.0, rel=0.05)
    assert decision.level is Level.NORMAL
    assert rate(decision, FREE) is None
