"""The judge of a limited tier: a run that was over its limit anywhere must show it."""

from dataclasses import replace

import pytest

from bench.windows import BEARABLE, Entered, Limited, Total, over_limit_share

TEN = [Total(since=0.0, rate=10.0)]


def paced(rate: float, seconds: float, begin: float = 0.0) -> list[Entered]:
    return [Entered(at=begin + number / rate, units=1.0) for number in range(int(rate * seconds))]


def test_requests_at_the_limit_after_a_burst_are_within_it() -> None:
    burst = [Entered(at=0.0, units=1.0)] * 4
    assert over_limit_share([*burst, *paced(10.0, 60.0, 0.1)], TEN, bursts=4.0) <= 1.0


def test_a_burst_of_one_request_too_many_is_over() -> None:
    assert over_limit_share([Entered(at=0.0, units=1.0)] * 5, TEN, bursts=4.0) == float("inf")


def test_a_rate_two_in_a_hundred_over_the_limit_is_found_and_shown() -> None:
    share = over_limit_share(paced(10.2, 600.0), TEN, bursts=4.0)
    assert share == pytest.approx(1.02, abs=0.005)
    assert share > BEARABLE


def test_a_short_excess_in_a_long_calm_run_is_found() -> None:
    calm = [*paced(1.0, 300.0), *paced(1.0, 300.0, 310.0)]
    assert over_limit_share(calm, TEN, bursts=4.0) <= 1.0
    assert over_limit_share([*calm, *paced(20.0, 5.0, 302.0)], TEN, bursts=4.0) > 1.5


def test_the_limit_is_the_one_of_the_moment() -> None:
    falls = [Total(since=0.0, rate=10.0), Total(since=10.0, rate=2.0), Total(since=20.0, rate=10.0)]
    kept = [*paced(10.0, 10.0), *paced(2.0, 10.0, 10.0), *paced(10.0, 10.0, 20.0)]
    assert over_limit_share(kept, falls, bursts=4.0) <= 1.0
    assert over_limit_share(paced(10.0, 30.0), falls, bursts=4.0) > 4.0


def test_nothing_is_allowed_before_a_limit_was_told() -> None:
    late = [Total(since=5.0, rate=10.0)]
    assert over_limit_share(paced(10.0, 4.0), late, bursts=4.0) == float("inf")


def test_the_order_in_which_requests_are_told_changes_nothing() -> None:
    entered = paced(10.2, 60.0)
    assert over_limit_share(entered[::-1], TEN, bursts=4.0) == over_limit_share(entered, TEN, bursts=4.0)


def test_what_was_used_of_a_limit_shows_that_it_was_put_to_the_test() -> None:
    limited = Limited(entered=paced(5.0, 60.0), totals=TEN, bursts=4.0, held_back=0)
    assert limited.used == pytest.approx(0.5, abs=0.01)
    assert replace(limited, entered=()).used == 0.0
