"""A jump far off the history: a second signal, or nothing moves."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.api.memory import read_memory, write_memory
from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.load import PodLoad, TierLoad
from meltguard.core.memory import Held, Memory
from meltguard.core.plausible import FAR
from meltguard.core.policy import Level, SignalUse
from meltguard.core.pools import assign
from meltguard.core.seen import Reading, Snapshot
from meltguard.core.units import Instant, Seconds, Share, Units, UnitsPerSecond
from support.core_values import FREE, PLUS, a_load, a_node, a_policy, a_pool, a_snapshot

WAIT, HEAT, _ = a_policy().signals
UNCONFIRMED = a_policy(signals=(WAIT, HEAT))  # asks nobody but the agents before it borrows
HEAT_ONLY = a_policy(signals=(WAIT, replace(HEAT, use=SignalUse.CONFIRM)))


def quiet(offered: float, busy: float = 0.1, **changes: Any) -> Snapshot:
    """Agents tell of this demand, but their GPUs hardly work."""
    pools = assign([a_pool("inference"), a_pool()], [a_node(f"r-{number}") for number in range(5)])
    seen = a_snapshot({FREE: offered, PLUS: 0.0}, {FREE: 60.0}, pools=pools, readings=(), **changes)
    share = {FREE: offered / 8, PLUS: 0.0}
    return replace(seen, loads=tuple(a_load(number, share, {FREE: 7.0}, busy=busy) for number in range(8)))


def passes(seen: Snapshot, usual: float | None, seconds: int = 40, policy: Any = UNCONFIRMED) -> Decision:
    memory = Memory(usual=None if usual is None else UnitsPerSecond(usual))
    for second in range(0, seconds, 2):
        decision = decide(policy, memory, seen, Instant(1000.0 + second))
        memory = decision.memory
    return decision


def rule(decision: Decision, name: str = "surge is plausible") -> Any:
    return next(one for one in decision.rules if one.rule == name)


@pytest.mark.parametrize("usual", [None, 1.0])
def test_agents_that_tell_of_a_flood_that_no_gpu_feels_move_nothing(usual: float | None) -> None:
    decision = passes(quiet(400.0), usual, seconds=1200)
    assert decision.borrow == ()
    assert not rule(decision).holds
    assert "GPUs work for 10%" in rule(decision).text
    assert decision.memory.usual in {usual, None}, "an unconfirmed surge became usual"


def test_a_real_flood_is_confirmed_by_the_gpus_at_once() -> None:
    decision = passes(quiet(400.0, busy=1.0), 1.0, seconds=10)
    assert decision.borrow
    assert rule(decision).text.endswith("GPUs work for 100% of the time")


def test_a_flood_under_which_no_pod_stays_ready_is_confirmed_by_their_full_gpus() -> None:
    """Nobody is left who is Ready: what those that fail for their work tell of is the surge."""
    flood = quiet(400.0, busy=1.0)
    failing = replace(flood, loads=(), ready_pods=0, unready=flood.loads, unready_pods=8)
    decision = passes(failing, 1.0, seconds=10)
    assert decision.borrow, rule(decision).text
    idle = replace(failing, unready=quiet(400.0).loads)
    assert passes(idle, 1.0).borrow == ()


def test_a_hot_gpu_is_a_second_signal() -> None:
    heat = replace(a_snapshot({FREE: 1.0}).readings[0], signal="heat", value=84.0)
    assert passes(replace(quiet(400.0), readings=(heat,)), 1.0).borrow
    cool = replace(heat, value=40.0)
    assert not passes(replace(quiet(400.0), readings=(cool,)), 1.0).borrow


def test_what_the_policy_names_to_confirm_must_have_risen_and_not_only_be_used() -> None:
    """GPUs that are used as on any ordinary day say nothing of a jump."""
    used = replace(a_snapshot({FREE: 1.0}).readings[0], signal="heat", value=72.0)
    decision = passes(replace(quiet(400.0), readings=(used,)), 1.0, policy=HEAT_ONLY)
    assert rule(decision, "platform confirms").holds
    assert not rule(decision).holds
    assert passes(replace(quiet(400.0), readings=(replace(used, value=84.0),)), 1.0, policy=HEAT_ONLY).borrow


def test_within_its_history_a_demand_needs_no_second_signal() -> None:
    assert passes(quiet(20.0), 20.0 / FAR).borrow


def test_what_was_confirmed_becomes_usual_and_is_forgotten_slowly() -> None:
    busy = passes(quiet(400.0, busy=1.0), 1.0, seconds=1200)
    assert busy.memory.usual is not None
    assert busy.memory.usual > 200.0
    after = decide(UNCONFIRMED, busy.memory, quiet(1.0), Instant(1000.0 + 1202.0))
    assert after.memory.usual == pytest.approx(busy.memory.usual, rel=0.01)


@given(lies=st.lists(st.floats(0.0, 1e6), min_size=1, max_size=40))
def test_no_row_of_lies_borrows_a_node_while_the_gpus_idle(lies: list[float]) -> None:
    """Resets, spikes and frozen values in any order: nothing of the history is ever made of what is not believed."""
    memory = Memory(usual=UnitsPerSecond(0.5), units_per_gpu=UnitsPerSecond(1.0))
    for second, lie in enumerate(lies):
        decision = decide(UNCONFIRMED, memory, quiet(lie, busy=0.05), Instant(1000.0 + 2 * second))
        memory = decision.memory
        assert not decision.borrow


USUAL = 6.0
"""Of eight pods with a GPU each that are busy for 75 % of the time."""


def ordinary(*told: float, busy: float = 0.75, used: float = 75.0, **changes: Any) -> Snapshot:
    """An ordinary busy day; the first pods tell of these demands instead of the usual one."""
    seen = quiet(USUAL, busy)
    use = Reading(signal="use", value=used, age=Seconds(5.0))
    heat = Reading(signal="heat", value=68.0, age=Seconds(5.0))
    rates = (*told, *[USUAL / 8] * 8)
    loads = [a_load(n, {FREE: rates[n], PLUS: 0.0}, {}, busy=busy) for n in range(8)]
    loads = [replace(load, name=f"serving/image-gen-{n}", span=Seconds(6.0)) for n, load in enumerate(loads)]
    return replace(seen, **{"loads": tuple(loads), "readings": (heat, use), **changes})


def after_a_day(policy: Any = None) -> Memory:
    """What an hour of it leaves."""
    memory = Memory(units_per_gpu=UnitsPerSecond(1.0))
    for second in range(0, 3600, 10):
        memory = decide(policy or a_policy(), memory, ordinary(), Instant(1000.0 + second)).memory
    return memory


DAY = after_a_day()
LATER = 1000.0 + 3600.0


def then(seen: Snapshot, seconds: int = 600, policy: Any = None, memory: Memory = DAY) -> list[Decision]:
    decisions = []
    for second in range(0, seconds, 2):
        decision = decide(policy or a_policy(), memory, seen, Instant(LATER + second))
        memory = decision.memory
        decisions.append(decision)
    return decisions


def claims(decisions: list[Decision]) -> list[str]:
    return [borrow.node for decision in decisions for borrow in decision.borrow]


@pytest.mark.parametrize("policy", [a_policy(), UNCONFIRMED], ids=["confirmed", "unconfirmed"])
def test_one_agent_that_lies_on_an_ordinary_busy_day_moves_nothing(policy: Any) -> None:
    found = then(ordinary(1e5), policy=policy, memory=after_a_day(policy))
    assert claims(found) == []
    assert found[-1].level is Level.NORMAL, "nor does it slow features or updates"
    assert found[-1].doubts == ("serving/image-gen-0 tells of 1e+05 units a second, the others of 0.75",)
    assert "1 of 8 agents not believed" in found[-1].why
    assert "7 of 8 ready pods answer" in rule(found[-1], "agents answer").text
    assert "image-gen-0" in rule(found[-1], "agents answer").text


@settings(max_examples=40, deadline=None)
@given(lie=st.floats(0.0, 1e6), busy=st.floats(0.3, 0.97))
def test_no_lie_of_one_agent_is_so_small_or_large_that_it_moves_a_node(lie: float, busy: float) -> None:
    """Chance may add a GPU to what is missing, so the service has room for one."""
    honest = 0.8 * busy
    seen = ordinary(lie, *[honest] * 7, busy=busy, used=100.0 * busy)
    assert claims(then(seen, seconds=60)) == []


def test_of_two_pods_a_liar_moves_nothing_and_the_limits_stay() -> None:
    pods = ordinary(1e5).loads[:2]
    found = then(ordinary(loads=pods, ready_pods=2))
    assert claims(found) == []
    assert len(found[-1].doubts) == 2
    assert not rule(found[-1], "agents answer").holds


def test_a_surge_is_borrowed_for_beside_an_agent_that_lies() -> None:
    surge = ordinary(1e5, *[3.0] * 7, busy=1.0, used=100.0)
    found = then(surge, seconds=10)
    assert claims(found)
    assert len(found[-1].doubts) == 1


def test_agents_that_all_count_wrongly_on_a_busy_day_move_nothing() -> None:
    wrong = [USUAL] * 8
    found = then(ordinary(*wrong))
    assert claims(found) == []
    assert rule(found[-1], "platform confirms").holds, "the day is busy"
    assert rule(found[-1]).text.endswith("no metric of them rose; look at what the agents report")
    assert found[-1].memory.usual == pytest.approx(USUAL, rel=0.1)


SECOND = {
    "utilization rose": (ordinary(*[USUAL] * 8, used=100.0), "use is at 100 %"),
    "every pod's GPUs are full": (ordinary(*[USUAL] * 8, busy=1.0), "GPUs work for 100% of the time"),
    "heat rose": (
        ordinary(*[USUAL] * 8, readings=(Reading(signal="heat", value=81.0, age=Seconds(5.0)), ordinary().readings[1])),
        "heat is at 81 C",
    ),
}


@pytest.mark.parametrize(("seen", "words"), SECOND.values(), ids=SECOND)
def test_a_jump_is_borrowed_for_at_once_with_what_rose_beside_it(seen: Snapshot, words: str) -> None:
    found = then(seen, seconds=6)
    assert claims(found)
    assert words in rule(found[1]).text


def test_what_always_stands_high_has_not_risen() -> None:
    """An exporter stuck at 95 % confirms nothing, however long it says so."""
    memory = Memory(units_per_gpu=UnitsPerSecond(1.0))
    for second in range(0, 3600, 10):
        memory = decide(a_policy(), memory, ordinary(used=95.0), Instant(1000.0 + second)).memory
    assert claims(then(ordinary(*[USUAL] * 8, used=95.0), memory=memory)) == []


@pytest.mark.parametrize("used", [None, 0.0])
def test_an_exporter_that_says_nothing_or_nought_lends_nothing(used: float | None) -> None:
    problem = "" if used is not None else "0 of the service's 1 nodes have samples"
    silent = Reading(signal="use", value=used, age=Seconds(5.0), problem=problem)
    surge = ordinary(*[USUAL] * 8, busy=1.0, readings=(silent,))
    memory = replace(DAY, confirmed_at=Instant(LATER - 301.0))
    assert claims(then(surge, memory=memory)) == []


def test_a_pod_alone_is_believed_with_a_metric_of_the_platform_or_where_none_is_named() -> None:
    busy = replace(a_load(0, {FREE: 6.0, PLUS: 0.0}, {FREE: 9.0}), name="serving/image-gen-0")
    alone = ordinary(loads=(busy,), ready_pods=1)
    memory = replace(DAY, usual=UnitsPerSecond(0.75), demand={})
    assert claims(then(alone, memory=memory)) == []
    risen = replace(alone, readings=ordinary(used=100.0).readings)
    assert claims(then(risen, memory=memory, seconds=10))
    none_named = a_policy(signals=(WAIT,))
    assert claims(then(alone, memory=memory, policy=none_named, seconds=10))
    idle = replace(alone, loads=(replace(busy, busy=Share(0.75)),))
    assert claims(then(idle, memory=memory, policy=none_named)) == []


def test_limits_that_idle_the_gpus_do_not_end_a_surge_that_was_confirmed() -> None:
    limited = {FREE: Held(rate=UnitsPerSecond(1.0), since=Instant(LATER), cause="demand is more", rising=False)}
    memory = replace(DAY, surge_at=Instant(LATER - 100.0), short_since=Instant(LATER - 50.0))
    told = ordinary(*[USUAL] * 8)
    assert claims(then(told, memory=replace(memory, limits=limited), seconds=2))
    assert not claims(then(told, memory=memory, seconds=2)), "nothing limits: then the GPUs would be full"
    old = replace(memory, surge_at=Instant(LATER - 301.0), limits=limited)
    assert not claims(then(told, memory=old, seconds=2))


def test_the_usual_of_the_platform_survives_a_restart() -> None:
    assert DAY.usual_pressure.keys() == {"heat", "use"}
    memory = replace(DAY, surge_at=Instant(5.0))
    again = read_memory(write_memory(memory))
    assert again.usual_pressure == pytest.approx(memory.usual_pressure, abs=0.001)
    assert again.surge_at == memory.surge_at


LIMITING = a_policy(capacity=None)
NOTHING = TierLoad(offered=UnitsPerSecond(0.0), admitted=UnitsPerSecond(0.0), waiting=Units(0.0), wait_p99=Seconds(0.0))


def surging(number: int, **changes: Any) -> PodLoad:
    return replace(a_load(number, {FREE: 2.0, PLUS: 0.5}, {FREE: 5.0}, busy=1.0), **changes)


def standing_still(number: int, **changes: Any) -> PodLoad:
    return surging(number, tiers={FREE: NOTHING}, busy=Share(0.0), done=UnitsPerSecond(0.0), **changes)


LOOSENING = {
    "every agent stands still": [standing_still(n, still=Seconds(6.0)) for n in range(8)],
    "every agent restarts": [],
    "one has done what no GPU can do": [surging(0, done=UnitsPerSecond(1e4)), *(surging(n) for n in range(1, 8))],
    "half of them start anew": [surging(n) for n in range(4)],
    "half stand still": [
        *(surging(n) for n in range(4)),
        *(standing_still(n, still=Seconds(6.0)) for n in range(4, 8)),
    ],
}


@pytest.mark.parametrize("loads", LOOSENING.values(), ids=LOOSENING)
def test_no_limit_is_loosened_by_what_is_not_believed(loads: list[PodLoad]) -> None:
    """Nor is it, at any time, looser than the same surge told by sound agents has it."""
    surge = ordinary(loads=tuple(surging(n) for n in range(8)), used=100.0)
    memory = then(surge, policy=LIMITING, seconds=120)[-1].memory
    began = replace(memory, decided_at=Instant(LATER))
    sound = then(surge, policy=LIMITING, memory=began, seconds=120)
    found = then(replace(surge, loads=tuple(loads)), policy=LIMITING, memory=began, seconds=120)
    before = memory.limits[FREE].rate
    assert before
    for decision, right in zip(found, sound, strict=True):
        rate, most = decision.memory.limits[FREE].rate, right.memory.limits[FREE].rate
        assert rate is not None
        assert rate <= 1.02 * max(before, most or 0.0)
        assert (decision.capacity or 0.0) <= 1.02 * (right.capacity or 0.0)
