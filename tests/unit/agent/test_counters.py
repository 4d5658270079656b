import pytest

from meltguard.agent.counters import MOST_KEYS, GpuMeter, RecentWaits, SeenKeys, Tally, TierCounts
from meltguard.core.units import Gpus, Seconds, TierName, Units

FREE = TierName("free")
ONE = Units(1.0)


def test_busy_seconds_include_requests_in_progress() -> None:
    meter = GpuMeter(Gpus(2), Seconds(0.0))
    meter.start(ONE, Seconds(1.0))
    meter.start(ONE, Seconds(2.0))
    assert meter.busy(Seconds(3.0)) == 3.0
    meter.leave(ONE, Seconds(4.0))
    meter.leave(ONE, Seconds(6.0))
    assert meter.busy(Seconds(100.0)) == 7.0
    assert (meter.in_flight, meter.units_in_flight) == (0, 0.0)


def test_the_drain_rate_is_that_of_full_gpus() -> None:
    meter = GpuMeter(Gpus(4), Seconds(0.0))
    assert meter.drain_rate is None
    meter.done(Units(2.0), Seconds(0.0), Seconds(4.0))
    assert meter.drain_rate == 2.0


def test_the_drain_rate_follows_what_happens_now() -> None:
    meter = GpuMeter(Gpus(1), Seconds(0.0))
    for _ in range(100):
        meter.done(ONE, Seconds(0.0), Seconds(1.0))
    for _ in range(100):
        meter.done(ONE, Seconds(0.0), Seconds(2.0))
    assert meter.drain_rate == pytest.approx(0.5, rel=0.02)


def test_waits_of_the_last_minute_only() -> None:
    waits = RecentWaits()
    waits.add(Seconds(50.0), Seconds(0.0))
    for number in range(100):
        waits.add(Seconds(float(number)), Seconds(61.0))
    assert waits.quantiles((0.5, 0.99), Seconds(61.0)) == (50.0, 99.0)
    assert waits.quantiles((0.5, 0.99), Seconds(200.0)) == (0.0, 0.0)


def test_a_retry_is_no_new_demand() -> None:
    tally = Tally()
    assert [tally.is_new(key, Seconds(0.0)) for key in ("a", "a", "b")] == [True, False, True]


def test_what_is_offered_is_counted_in_requests_and_units() -> None:
    tally = Tally()
    for _ in range(4):
        tally.tier(FREE).offer(Units(2.0))
    counts = tally.tier(FREE)
    assert (counts.offered, counts.offered_units, counts.offered_squares) == (4, 8.0, 16.0)


def test_a_key_is_new_again_after_a_while() -> None:
    keys = SeenKeys()
    assert keys.first_time("a", Seconds(0.0))
    assert not keys.first_time("a", Seconds(599.0))
    assert keys.first_time("a", Seconds(601.0))


def test_keys_take_bounded_room() -> None:
    keys = SeenKeys()
    for number in range(MOST_KEYS + 10):
        keys.first_time(str(number), Seconds(0.0))
    assert keys.first_time("0", Seconds(0.0))
    assert not keys.first_time(str(MOST_KEYS + 9), Seconds(0.0))


def test_what_enters_at_once_came_and_went_to_the_gpu_without_a_wait() -> None:
    once, twice = TierCounts(FREE), TierCounts(FREE)
    for units in (1.0, 2.5):
        once.enter_at_once(Units(units), Seconds(5.0))
        twice.offer(Units(units))
        twice.admit(Units(units), Seconds(0.0), Seconds(5.0))
    names = ("offered", "offered_units", "offered_squares", "admitted", "admitted_units", "waited", "wait_counts")
    for name in (*names, "wait_sum"):
        assert getattr(once, name) == getattr(twice, name)
    assert list(once.waits.latest) == list(twice.waits.latest)


def test_a_turn_at_once_is_no_wait() -> None:
    counts = TierCounts(FREE)
    for wait in (0.0, 0.0001, 2.0):
        counts.admit(ONE, Seconds(wait), Seconds(5.0))
    assert (counts.admitted, counts.admitted_units, counts.waited) == (3, 3.0, 1)
