"""When windows open, against an oracle that looks at every minute; clocks change in the middle."""

from itertools import islice, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.api.openings import last_opening, openings_after
from meltguard.core.policy import Window, WindowAction
from meltguard.core.units import Instant, Seconds
from support.wall_clock import CHANGES, DAYS, SCHEDULES, moment, openings

DAY = 24 * 3600.0


def a_window(schedule: str, zone: str, minutes: int = 60) -> Window:
    return Window(action=WindowAction.DENY, schedule=schedule, duration=Seconds(60.0 * minutes), time_zone=zone)


@settings(max_examples=100, deadline=None)
@given(schedule=SCHEDULES, around=st.sampled_from(CHANGES), start=st.integers(-1440, 1440), seconds=st.integers(0, 59))
def test_every_opening_is_told_once_and_in_order(
    schedule: str, around: tuple[str, str], start: int, seconds: int
) -> None:
    now = Instant(moment(around[1]) + 60.0 * start + seconds)
    end = moment(around[1]) + (DAYS - 1) * DAY
    expected = [at for at in openings(schedule, around) if now < at < end]
    told = takewhile(lambda at: at < end, openings_after(a_window(schedule, around[0]), now))
    assert list(islice(told, len(expected) + 5)) == expected


@settings(max_examples=100, deadline=None)
@given(
    schedule=SCHEDULES,
    around=st.sampled_from(CHANGES),
    length=st.integers(1, 1440),
    start=st.integers(-1440, 2880),
    seconds=st.integers(0, 59),
)
def test_the_last_opening_is_the_oracles(
    schedule: str, around: tuple[str, str], length: int, start: int, seconds: int
) -> None:
    now = Instant(moment(around[1]) + 60.0 * start + seconds)
    before = [at for at in openings(schedule, around) if at <= now < at + 60.0 * length]
    assert last_opening(a_window(schedule, around[0], length), now) == max(before, default=None)


@pytest.mark.parametrize("around", CHANGES, ids=lambda around: f"{around[0]} {around[1]}")
def test_a_window_of_every_minute_is_open_over_every_change(around: tuple[str, str]) -> None:
    """By real time: an hour that is repeated is covered twice."""
    window = a_window("* * * * *", around[0], 1)
    for minute in range(-240, 240):
        now = Instant(moment(around[1]) + 60.0 * minute + 30.0)
        assert last_opening(window, now) == now - 30.0


def test_no_schedule_holds_the_clock_up() -> None:
    """Cronsim, asked for this in its own zone, never answers."""
    window = a_window("*/10 3 * * *", "Pacific/Chatham")
    around = ("Pacific/Chatham", "2026-04-04T14:00")
    told = list(islice(openings_after(window, Instant(moment(around[1]) - DAY)), 12))
    assert told == [at for at in openings(window.schedule, around) if at > moment(around[1]) - DAY][:12]
