"""The last minute of one agent's counters."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.load import AgentCounters, TierCounters, load_between
from meltguard.core.past import APART, KEPT, Past, past_after
from meltguard.core.units import Epoch, Gpus, NodeName, PodUid, Revision, Seconds, TierName, Units

NODE, FREE = NodeName("gpu-01"), TierName("free")


def counted(uptime: float, offered: float, busy: float = 0.0, **changes: Any) -> AgentCounters:
    tier = TierCounters(
        offered=Units(offered), admitted=Units(offered), waiting=Units(0.0), refused=0, wait_p99=Seconds(0.0)
    )
    counters = AgentCounters(
        pod=PodUid("pod-1"),
        instance="one",
        sequence=0,
        uptime=Seconds(uptime),
        leased=True,
        epoch=Epoch(1),
        revision=Revision(1),
        gpus=Gpus(8),
        busy=Seconds(busy),
        done=Units(offered),
        in_flight=Units(0.0),
        quota_store="unused",
        tiers={FREE: tier},
    )
    return replace(counters, **changes)


def past_of(*readings: AgentCounters) -> Past:
    past = None
    for reading in readings:
        past = past_after(past, reading)
    assert past is not None
    return past


def test_one_reading_tells_no_rate() -> None:
    assert past_of(counted(5.0, 100.0)).minute is None


def test_the_last_minute_is_told_and_not_more() -> None:
    past = past_of(*(counted(2.0 * step, 3.0 * step, step) for step in range(200)))
    minute = past.minute
    assert minute is not None
    assert (KEPT - 1) * APART <= minute.span <= KEPT * APART
    assert minute.offered == pytest.approx(1.5 * minute.span)
    assert minute.busy == pytest.approx(0.5 * minute.span)


def test_it_is_known_for_how_long_nothing_was_counted() -> None:
    moving = past_of(counted(0.0, 1.0), counted(2.0, 2.0))
    assert moving.still == 0.0
    stuck = past_after(past_after(moving, counted(4.0, 2.0)), counted(30.0, 2.0))
    assert stuck.still == 28.0
    assert past_after(stuck, counted(32.0, 2.0, busy=0.1)).still == 0.0, "a GPU that works is a count"


ANEW = {
    "restarted": counted(1.0, 0.0, instance="two"),
    "counters set back": counted(62.0, 0.0),
    "GPU seconds set back": counted(62.0, 100.0, busy=1.0),
    "units done set back": counted(62.0, 100.0, 30.0, done=Units(0.0)),
    "a tier gone": counted(62.0, 100.0, 30.0, tiers={}),
    "its clock set back": counted(10.0, 100.0, 30.0),
}


@pytest.mark.parametrize("after", ANEW.values(), ids=ANEW)
def test_counters_that_fell_are_unknown_and_not_zero(after: AgentCounters) -> None:
    """A rate over the fall would be 0 or huge; there is none until there are two readings after it."""
    before = counted(60.0, 100.0, 30.0)
    assert load_between(NODE, before, after, Seconds(0.0)) is None
    past = past_of(before, after)
    assert past.minute is None
    assert past.still == 0.0


@given(
    steps=st.lists(
        st.tuples(st.floats(0.0, 30.0), st.floats(-1e6, 1e6), st.sampled_from(["one", "two"])), min_size=1, max_size=40
    )
)
def test_whatever_is_read_the_last_minute_is_short_and_never_negative(steps: list[tuple[float, float, str]]) -> None:
    past, uptime, offered = None, 0.0, 1e6
    for span, more, instance in steps:
        uptime, offered = uptime + span, max(0.0, offered + more)
        past = past_after(past, counted(uptime, offered, instance=instance))
        assert len(past.marks) <= KEPT
        assert past.still >= 0.0
        if past.minute is not None:
            assert past.minute.span > 0
            assert min(past.minute.offered, past.minute.done, past.minute.busy) >= 0.0


def barred(uptime: float, offered: float, without: float) -> AgentCounters:
    counters = counted(uptime, offered)
    return replace(counters, tiers={FREE: replace(counters.tiers[FREE], barred=Units(without))})


def test_what_no_gpu_would_mend_is_no_demand_though_it_is_told_later_than_it_came() -> None:
    came, refused = barred(10.0, 8.0, 0.0), barred(20.0, 8.0, 8.0)
    load = load_between(NODE, came, refused, Seconds(1.0))
    assert load is not None
    assert load.tiers[FREE].offered == 0.0
    past = past_of(barred(0.0, 0.0, 0.0), came, refused)
    assert past.minute is not None
    assert past.minute.offered == 0.0


def test_a_count_of_the_refused_that_falls_is_a_counter_that_fell() -> None:
    assert load_between(NODE, barred(10.0, 8.0, 5.0), barred(20.0, 9.0, 4.0), Seconds(1.0)) is None


@pytest.mark.parametrize(("squares", "size"), [(64.0, 4.0), (16.0, 1.0), (0.0, 1.0), (1e9, 16.0)])
def test_a_request_is_as_large_as_those_that_came_the_barred_ones_too(squares: float, size: float) -> None:
    """16 units, 8 of them barred; one unit each where nobody counts, and no more than all that came where one lies."""
    before, after = barred(10.0, 8.0, 0.0), barred(20.0, 24.0, 8.0)
    after = replace(after, tiers={FREE: replace(after.tiers[FREE], squares=squares)})
    load = load_between(NODE, before, after, Seconds(1.0))
    assert load is not None
    assert (load.tiers[FREE].offered, load.tiers[FREE].size) == (0.8, size)
    assert load.tiers[FREE].swings == pytest.approx(0.8 * size)
