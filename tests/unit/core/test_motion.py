"""How limits move: laws that hold for any budget, wait and time."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from meltguard.core.limits import REST, TierNeed, budget, forgotten, trimmed
from meltguard.core.motion import LIFT_ABOVE_DEMAND, STILL, Motion, moved
from meltguard.core.overrides import SHUT
from meltguard.core.units import Seconds, Share, Units, UnitsPerSecond
from support.core_values import a_tier

rates = st.floats(0.0, 50.0)
waits = st.floats(0.0, 60.0)
spans = st.floats(0.0, 2.0)


def a_need(demand: float = 30.0, *, suspended: bool = False) -> TierNeed:
    return TierNeed(tier=a_tier(), demand=UnitsPerSecond(demand), fixed=SHUT if suspended else None)


def a_motion(**changes: object) -> Motion:
    motion = Motion(
        steps=0.4,
        budget=UnitsPerSecond(10.0),
        demand=UnitsPerSecond(30.0),
        idle=UnitsPerSecond(0.0),
        own_wait=10.0,
        gpu_wait=3.0,
        target=Seconds(4.0),
        rising=False,
        turned_ago=REST,
    )
    return replace(motion, **changes)


def rate(value: float) -> UnitsPerSecond:
    return UnitsPerSecond(value)


def test_a_limit_begins_only_when_the_wait_is_beyond_its_target_and_demand_near_the_budget() -> None:
    assert moved(None, rate(5.0), a_need(), a_motion()) == 5.0
    assert moved(None, rate(5.0), a_need(), a_motion(own_wait=4.0)) is None
    assert moved(None, rate(5.0), a_need(), a_motion(demand=rate(8.9))) is None


@given(before=rates, wanted=rates, own=st.floats(0.0, 2.0), gpu=waits)
def test_no_limit_falls_while_those_above_it_hardly_wait(before: float, wanted: float, own: float, gpu: float) -> None:
    """The own-backlog rule: an old reading of the whole service never cuts a tier whose own requests go first."""
    after = moved(rate(before), rate(wanted), a_need(), a_motion(own_wait=own, gpu_wait=gpu))
    assert after is not None
    assert after >= before


@given(before=rates, wanted=rates, gpu=waits, count=spans)
def test_a_limit_never_passes_what_is_wanted(before: float, wanted: float, gpu: float, count: float) -> None:
    after = moved(rate(before), rate(wanted), a_need(), a_motion(gpu_wait=gpu, steps=count))
    assert after is not None
    assert min(before, wanted) - 1e-9 <= after <= max(before, wanted) + 1e-9


@given(before=rates, low=rates, more=rates, gpu=waits)
def test_a_larger_budget_never_gives_a_lower_limit(before: float, low: float, more: float, gpu: float) -> None:
    lower = moved(rate(before), rate(low), a_need(), a_motion(gpu_wait=gpu))
    higher = moved(rate(before), rate(low + more), a_need(), a_motion(gpu_wait=gpu))
    assert lower is not None
    assert higher is not None
    assert lower <= higher + 1e-9


@given(before=rates, wanted=rates, gpu=waits, later=waits)
def test_a_longer_wait_never_gives_a_higher_limit(before: float, wanted: float, gpu: float, later: float) -> None:
    soon = moved(rate(before), rate(wanted), a_need(), a_motion(gpu_wait=gpu))
    late = moved(rate(before), rate(wanted), a_need(), a_motion(gpu_wait=gpu + later))
    assert soon is not None
    assert late is not None
    assert late <= soon + 1e-9


@given(before=rates, off=st.floats(-0.99, 0.99))
def test_chance_moves_nothing(before: float, off: float) -> None:
    wanted = before + off * STILL * 10.0
    assert moved(rate(before), rate(wanted), a_need(), a_motion()) == before


@given(before=st.floats(1.0, 40.0), count=spans)
def test_a_limit_rises_in_small_steps(before: float, count: float) -> None:
    after = moved(rate(before), rate(1000.0), a_need(), a_motion(steps=count))
    assert after is not None
    assert after <= max(before * 1.1**count, before + 0.2 * count) + 1e-9


@given(before=st.floats(1.0, 5.0), idle=st.floats(3.0, 8.0))
def test_idle_gpus_let_it_rise_faster_even_just_after_it_fell(before: float, idle: float) -> None:
    turned = a_motion(turned_ago=Seconds(2.0), idle=rate(idle))
    after = moved(rate(before), rate(40.0), a_need(), turned)
    assert after is not None
    assert after > before * 1.1**0.4


@given(before=rates, wanted=rates, ago=st.floats(0.0, REST - 0.1))
def test_a_limit_turns_back_only_after_a_rest(before: float, wanted: float, ago: float) -> None:
    fell = moved(rate(before), rate(wanted), a_need(), a_motion(rising=False, turned_ago=Seconds(ago)))
    rose = moved(rate(before), rate(wanted), a_need(), a_motion(rising=True, turned_ago=Seconds(ago)))
    assert fell is not None
    assert rose is not None
    assert fell <= before <= rose


def test_far_behind_it_falls_at_once_whatever_it_did_before() -> None:
    rising = a_motion(rising=True, turned_ago=Seconds(1.0), gpu_wait=8.0)
    assert moved(rate(9.0), rate(1.0), a_need(), rising) == pytest.approx(1.0 + STILL * 10.0)


def test_a_limit_is_lifted_once_it_stands_well_above_demand() -> None:
    need = a_need(demand=4.0)
    assert moved(rate(4.0), None, need, a_motion()) is not None
    assert moved(rate(4.0 * LIFT_ABOVE_DEMAND), None, need, a_motion()) is None


@given(trim=st.floats(0.5, 2.0), wait=waits, busy=st.floats(0.0, 1.0), count=spans)
def test_the_trim_rises_only_for_idle_gpus_that_limits_keep_idle(
    trim: float, wait: float, busy: float, count: float
) -> None:
    target, used = Seconds(4.0), Share(busy)
    kept_out = trimmed(trim, (wait, target), (True, used), count)
    resting = trimmed(trim, (wait, target), (False, used), count)
    assert 0.5 <= kept_out <= 2.0
    assert resting <= trim + 1e-9
    if wait > target or busy >= 0.98:
        assert kept_out <= trim + 1e-9


@given(trim=st.floats(0.5, 2.0), count=st.floats(0.0, 10.0))
def test_the_trim_is_forgotten_towards_one(trim: float, count: float) -> None:
    after = forgotten(trim, count)
    assert min(trim, 1.0) <= after <= max(trim, 1.0)
    assert abs(after - 1.0) <= abs(trim - 1.0)


@settings(deadline=None)
@given(capacity=st.floats(0.1, 100.0), trim=st.floats(0.5, 2.0), backlog=st.floats(0.0, 1e4), more=st.floats(0.0, 1e4))
def test_the_budget_falls_with_the_backlog_and_grows_with_the_capacity(
    capacity: float, trim: float, backlog: float, more: float
) -> None:
    assume(more > 0)
    target = Seconds(4.0)
    here = budget(rate(capacity), trim, Units(backlog), target)
    assert budget(rate(capacity), trim, Units(backlog + more), target) <= here
    assert budget(rate(capacity + more), trim, Units(backlog), target) >= here
    assert 0.0 <= here <= 1.05 * trim * capacity + 1e-9 or trim < 1.0


@given(idle=st.floats(0.0, 2.5), ago=st.floats(0.0, REST))
def test_the_more_idles_the_shorter_the_rest(idle: float, ago: float) -> None:
    soon = a_motion(rising=False, turned_ago=Seconds(ago), idle=rate(idle))
    sooner = replace(soon, idle=rate(idle + 0.5))
    assert sooner.may_rise or not soon.may_rise
    assert replace(soon, idle=rate(2.1)).may_rise
    assert a_motion(rising=True, turned_ago=Seconds(ago), gpu_wait=8.0).may_fall
