import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.agent.bucket import NEVER, Bucket
from meltguard.core.units import Seconds, Units, UnitsPerSecond


def a_bucket(rate: float = 2.0, burst: float = 4.0, at: float = 0.0) -> Bucket:
    return Bucket(UnitsPerSecond(rate), Units(burst), Seconds(at))


def wait(bucket: Bucket, units: float, at: float, behind: float = 0.0) -> float:
    return bucket.wait(Units(units), Seconds(at), Units(behind))


def take(bucket: Bucket, units: float, at: float) -> None:
    bucket.take(Units(units), Seconds(at))


def test_a_full_bucket_lets_its_burst_through_at_once() -> None:
    bucket = a_bucket()
    take(bucket, 4.0, 0.0)
    assert wait(bucket, 1.0, 0.0) == 0.5


def test_it_fills_no_further_than_its_burst() -> None:
    bucket = a_bucket()
    take(bucket, 4.0, 0.0)
    assert wait(bucket, 4.0, 1000.0) == 0
    take(bucket, 4.0, 1000.0)
    assert wait(bucket, 2.0, 1000.0) == 1.0


def test_a_request_larger_than_the_burst_needs_a_full_bucket_and_leaves_debt() -> None:
    bucket = a_bucket()
    take(bucket, 1.0, 0.0)
    assert wait(bucket, 10.0, 0.0) == 0.5
    take(bucket, 10.0, 0.5)
    assert wait(bucket, 1.0, 0.5) == 3.5


def test_those_ahead_are_waited_for() -> None:
    bucket = a_bucket()
    take(bucket, 4.0, 0.0)
    assert wait(bucket, 1.0, 0.0, behind=3.0) == 2.0


def test_nothing_passes_a_rate_of_zero_once_the_burst_is_drawn() -> None:
    bucket = a_bucket(rate=0.0, burst=1.0)
    take(bucket, 1.0, 0.0)
    assert wait(bucket, 1.0, 1e9) == NEVER


def test_a_new_limit_is_no_new_allowance() -> None:
    bucket = a_bucket(rate=1.0, burst=4.0)
    take(bucket, 4.0, 0.0)
    for _ in range(100):
        bucket.change(UnitsPerSecond(2.0), Units(4.0), Seconds(0.0))
    assert wait(bucket, 1.0, 0.0) == 0.5


def test_a_smaller_burst_takes_effect_at_once() -> None:
    bucket = a_bucket(burst=10.0)
    bucket.change(UnitsPerSecond(2.0), Units(1.0), Seconds(0.0))
    take(bucket, 1.0, 0.0)
    assert wait(bucket, 1.0, 0.0) == pytest.approx(0.5)


requests = st.lists(st.tuples(st.floats(0.0, 2.0), st.floats(0.01, 6.0)), max_size=80)


@settings(deadline=None)
@given(rate=st.floats(0.0, 10.0), burst=st.floats(0.0, 5.0), arrivals=requests)
def test_it_never_admits_more_than_rate_and_burst(
    rate: float, burst: float, arrivals: list[tuple[float, float]]
) -> None:
    bucket, now, admitted, largest = a_bucket(rate, burst), 0.0, 0.0, 0.0
    for pause, units in arrivals:
        now += pause
        largest = max(largest, units)
        if wait(bucket, units, now) <= 0:
            take(bucket, units, now)
            admitted += units
        assert admitted <= rate * now + max(burst, largest) + 1e-6


@settings(deadline=None)
@given(rate=st.floats(0.1, 10.0), burst=st.floats(0.0, 5.0), arrivals=requests)
def test_whoever_waits_as_told_may_pass(rate: float, burst: float, arrivals: list[tuple[float, float]]) -> None:
    bucket, now = a_bucket(rate, burst), 0.0
    for pause, units in arrivals:
        now += pause
        now += wait(bucket, units, now)
        assert wait(bucket, units, now) <= 1e-6
        take(bucket, units, now)
