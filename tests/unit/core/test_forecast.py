"""A rising demand is borrowed for before it is there: where asked for, no further than half, by no single word."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.api.memory import read_memory, write_memory
from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.forecast import MOST, PAUSE, SETTLES, Forecast, Trend, trend_after
from meltguard.core.loading import Loading
from meltguard.core.loan_words import shortage_in_words
from meltguard.core.memory import Memory
from meltguard.core.policy import Policy
from meltguard.core.pools import assign
from meltguard.core.units import Instant, Seconds, Units, UnitsPerSecond
from support.core_values import FREE, PLUS, a_load, a_node, a_policy, a_pool, a_snapshot

T0 = Instant(1000.0)
STARTS = Seconds(60.0)
"""How long pods take."""


SETTLING = int(SETTLES / 2.0)
"""Looks, two seconds apart."""


def looks(*demands: float, every: float = 2.0) -> Trend:
    """What two pods tell, after they told the first of it for so long that a trend may be."""
    trend = Trend(demand=UnitsPerSecond(demands[0]), at=T0, tellers=2, steady=Instant(T0 - SETTLES))
    for number, demand in enumerate(demands[1:], start=1):
        trend = trend_after(trend, UnitsPerSecond(demand), 2, Instant(T0 + every * number))
    return trend


def test_a_steady_rise_is_foreseen_as_far_as_a_start_takes() -> None:
    trend = looks(*(10.0 + 0.1 * 2.0 * number for number in range(60)))
    assert trend.rise == pytest.approx(0.1, rel=0.02)
    assert trend.growth(Seconds(30.0)) == pytest.approx(3.0, rel=0.02)


@pytest.mark.parametrize("lead", [None, Seconds(0.0)])
def test_where_no_start_was_seen_nothing_is_foreseen(lead: Seconds | None) -> None:
    assert looks(1.0, 2.0, 3.0).growth(lead) == 0.0


def test_what_changes_with_the_number_of_those_who_tell_is_no_trend_until_that_is_settled() -> None:
    trend = trend_after(looks(10.0), UnitsPerSecond(6.0), 1, Instant(T0 + 2.0))
    for number in range(2, SETTLING):
        trend = trend_after(trend, UnitsPerSecond(6.0 + number), 1, Instant(T0 + 2.0 * number))
        assert trend.rise == 0.0
    for number in range(SETTLING, 2 * SETTLING):
        trend = trend_after(trend, UnitsPerSecond(6.0 + number), 1, Instant(T0 + 2.0 * number))
    assert trend.rise == pytest.approx(0.5, rel=0.02)


def test_what_changed_while_nobody_looked_is_no_trend() -> None:
    assert looks(1.0, 100.0, every=PAUSE + 1.0).rise == 0.0


demands = st.lists(st.floats(0.0, 1e6), min_size=1, max_size=40)


@given(demands=demands, lead=st.floats(0.0, 3600.0), every=st.floats(0.0, 20.0))
def test_no_trend_asks_for_less_than_today_or_for_more_than_half_as_much_again(
    demands: list[float], lead: float, every: float
) -> None:
    trend = looks(*demands, every=every)
    assert 0.0 <= trend.growth(Seconds(lead)) <= MOST * trend.demand


@given(demands=st.lists(st.floats(0.0, 1e6), min_size=2, max_size=20))
def test_what_falls_is_not_foreseen_to_rise(demands: list[float]) -> None:
    assert looks(*sorted(demands, reverse=True)).growth(STARTS) == 0.0


def a_policy_that(forecast: Forecast) -> Policy:
    policy = a_policy()
    assert policy.capacity is not None
    return replace(policy, capacity=replace(policy.capacity, max_loans=8, forecast=forecast))


def surge(forecast: Forecast, steps: int = 30, liars: int = 0) -> list[Decision]:
    """Demand grows by a unit in ten seconds, from what eight GPUs just do; pods take a minute to start."""
    pools = assign([a_pool("inference"), a_pool()], [a_node(f"r{n}") for n in range(12)])
    memory = Memory(
        trend=Trend(demand=UnitsPerSecond(7.0), at=Instant(T0 - 2.0), tellers=8, steady=Instant(T0 - SETTLES)),
        units_per_gpu=UnitsPerSecond(1.0),
        evidence=Units(600.0),
        usual=UnitsPerSecond(8.0),
        loading=Loading(usual=STARTS, starts=4),
    )
    decisions: list[Decision] = []
    for step in range(steps):
        each = (7.0 + (0.0 if liars else 0.2 * step)) / 8
        loads = [a_load(n, {FREE: each, PLUS: 0.0}, {FREE: 8.0}, busy=1.0) for n in range(8)]
        for number in range(liars):
            lied = a_load(number, {FREE: each + 0.2 * step, PLUS: 0.0}, {FREE: 8.0}, busy=1.0)
            loads[number] = lied
        seen = replace(a_snapshot({FREE: 1.0}, pools=pools), loads=tuple(loads))
        decisions.append(decide(a_policy_that(forecast), memory, seen, Instant(T0 + 2.0 * step)))
        memory = decisions[-1].memory
    return decisions


def most_missing(decisions: list[Decision]) -> list[int]:
    return [decision.shortage.missing for decision in decisions if decision.shortage is not None]


def test_as_many_are_asked_for_as_will_be_needed_and_the_words_say_so() -> None:
    now, ahead = surge(Forecast.OFF), surge(Forecast.TREND)
    assert all(more >= less for more, less in zip(most_missing(ahead), most_missing(now), strict=True))
    assert most_missing(ahead)[-1] >= most_missing(now)[-1] + 3
    short = ahead[-1].shortage
    assert short is not None
    assert shortage_in_words(short).endswith("/m by the time a node serves")
    assert all("by the time" not in shortage_in_words(one.shortage) for one in now if one.shortage is not None)


def test_nothing_but_what_is_borrowed_follows_it() -> None:
    def all_else(decision: Decision) -> object:
        return (decision.level, decision.limits, decision.pressure, decision.budget)

    assert [all_else(one) for one in surge(Forecast.TREND)] == [all_else(one) for one in surge(Forecast.OFF)]


def test_one_agents_word_makes_no_trend() -> None:
    assert most_missing(surge(Forecast.TREND, liars=1)) == most_missing(surge(Forecast.OFF, liars=1))


def test_pods_that_answer_again_are_no_rise() -> None:
    """Three of eight are silent for half a minute; their users asked for as much all along, just below what GPUs do."""
    full = a_snapshot({FREE: 7.6})
    begun = Memory(
        units_per_gpu=UnitsPerSecond(1.0),
        evidence=Units(600.0),
        usual=UnitsPerSecond(7.6),
        loading=Loading(usual=Seconds(120.0), starts=5),
    )
    missing = dict[Forecast, list[int]]()
    for forecast in Forecast:
        memory, decisions = begun, list[Decision]()
        for step in range(400):
            seen = replace(full, loads=full.loads[:5]) if 130 <= step < 145 else full
            decisions.append(decide(a_policy_that(forecast), memory, seen, Instant(T0 + 2.0 * step)))
            memory = decisions[-1].memory
        missing[forecast] = [0 if one.shortage is None else one.shortage.missing for one in decisions[145:]]
    assert missing[Forecast.TREND] == missing[Forecast.OFF]


def test_the_trend_survives_a_restart() -> None:
    memory = surge(Forecast.TREND)[-1].memory
    read = read_memory(write_memory(memory)).trend
    assert memory.trend is not None
    assert read is not None
    assert read.rise == pytest.approx(memory.trend.rise, abs=1e-5)
