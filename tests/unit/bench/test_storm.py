"""The judge of a retry storm: a crowd that keeps the GPUs from their work must show."""

from collections import Counter

import pytest

from bench.abuse_storm import CAPACITY, STARVED, Manner, Served, Storm, manner_of, storm_rows
from meltguard.demo.report import Row

RATE = 20.0


def served(rate: float, begin: float, end: float) -> list[Served]:
    times = [begin + (number + 0.5) / rate for number in range(int((end - begin) * rate))]
    return [Served(asked=at - 0.4, at=at, client=number % 8) for number, at in enumerate(times)]


def a_storm(*after: list[Served], rate: float = RATE) -> Storm:
    """Open up to 25, suspended up to 45, then what is given, up to 115."""
    made = [*served(rate, 0.0, 25.0), *(one for some in after for one in some)]
    return Storm(clients=8, opened=0.0, suspended=25.0, lifted=45.0, ended=115.0, served=made)


def missed(storm: Storm) -> set[str]:
    return {row.name for row in storm_rows(storm) if not row.met}


def row(storm: Storm, name: str) -> Row:
    return next(one for one in storm_rows(storm) if one.name == name)


def test_a_crowd_that_is_served_at_once_meets_every_goal() -> None:
    storm = a_storm(served(RATE, 45.0, 115.0))
    assert missed(storm) == set()
    assert storm.proves
    assert row(storm, "goodputBefore").value == pytest.approx(RATE, abs=0.2)
    assert row(storm, "goodput90Seconds").value == 10.0


def test_goodput_that_comes_back_late_is_told_and_missed_beyond_a_minute() -> None:
    half = a_storm(served(RATE / 2, 45.0, 80.0), served(RATE, 80.0, 115.0))
    assert row(half, "goodput90Seconds").value == pytest.approx(45.0, abs=2.0)
    assert missed(half) == set()
    late = a_storm(served(RATE / 2, 45.0, 104.5), served(RATE, 104.5, 115.0))
    assert missed(late) == {"goodput90Seconds"}


def test_goodput_that_comes_back_and_breaks_in_again_is_not_back() -> None:
    storm = a_storm(served(RATE, 45.0, 90.0), served(RATE / 4, 90.0, 115.0))
    assert row(storm, "goodput90Seconds").value == float("inf")
    assert missed(storm) == {"goodput90Seconds"}


def test_nothing_served_at_all_is_missed_and_proves_nothing() -> None:
    storm = a_storm(rate=0.01)
    assert {"goodputBefore", "goodput90Seconds"} <= missed(storm)
    assert not storm.proves


def test_a_run_whose_gpus_were_idle_before_the_storm_proves_nothing() -> None:
    assert not a_storm(served(RATE, 45.0, 115.0), rate=CAPACITY / 2).proves


def test_goodput_that_stays_away_is_the_crowds_fault_unless_the_agent_had_no_core() -> None:
    storm = a_storm(served(RATE / 2, 45.0, 115.0))
    assert missed(storm) == {"goodput90Seconds"}
    storm.starved = STARVED
    assert storm.proves
    storm.starved = STARVED + 0.01
    assert not storm.proves


def test_images_of_a_suspended_tier_and_broken_answers_are_missed() -> None:
    assert missed(a_storm(served(RATE, 45.0, 115.0), served(1.0, 30.0, 40.0))) == {"servedWhileSuspended"}
    storm = a_storm(served(RATE, 45.0, 115.0))
    storm.failed = Counter({"ServerDisconnectedError": 1})
    assert missed(storm) == {"stormFailed"}


def test_half_of_the_clients_obey_and_who_got_nothing_is_counted() -> None:
    assert Counter(map(manner_of, range(500))) == {Manner.EXACT: 125, Manner.JITTERED: 125, Manner.RUDE: 250}
    storm = a_storm([Served(asked=49.0, at=50.0, client=0)])
    assert {one: storm.never_served(one) for one in Manner} == {Manner.EXACT: 1, Manner.JITTERED: 2, Manner.RUDE: 4}
