"""When pools lend: cases, and an oracle that looks at every minute."""

from bisect import bisect_right
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.api.windows import MOST_OPENINGS, Timetable, lending_hours, next_spans
from meltguard.core.policy import Window, WindowAction
from meltguard.core.units import Instant, Seconds
from meltguard.errors import InvalidInput
from support.wall_clock import CHANGES as CHANGES_OF_CLOCKS
from support.wall_clock import DAYS, SCHEDULES, moment, openings

HOUR = 3600.0


def a_window(schedule: str, hours: float = 1.0, zone: str = "UTC", action: WindowAction = WindowAction.DENY) -> Window:
    return Window(action=action, schedule=schedule, duration=Seconds(hours * HOUR), time_zone=zone)


def at(text: str) -> Instant:
    return Instant(datetime.fromisoformat(text).timestamp())


def local(moment: Instant, zone: str) -> str:
    return datetime.fromtimestamp(moment, ZoneInfo(zone)).isoformat()


def test_a_pool_without_windows_is_always_open() -> None:
    hours = lending_hours((), Instant(0.0))
    assert hours.open
    assert hours.until is None


CASES = {
    "before a Deny: open, until it begins": (
        (a_window("0 22 * * *"),),
        "2026-06-01T12:00:00Z",
        (True, "2026-06-01T22:00:00Z"),
    ),
    "inside a Deny: closed, until it ends": (
        (a_window("0 22 * * *"),),
        "2026-06-01T22:30:00Z",
        (False, "2026-06-01T23:00:00Z"),
    ),
    "at the very beginning: closed": (
        (a_window("0 22 * * *"),),
        "2026-06-01T22:00:00Z",
        (False, "2026-06-01T23:00:00Z"),
    ),
    "at the very end: open": ((a_window("0 22 * * *"),), "2026-06-01T23:00:00Z", (True, "2026-06-02T22:00:00Z")),
    "hours that no Allow names are closed": (
        (a_window("0 1 * * *", 2.0, action=WindowAction.ALLOW),),
        "2026-06-01T12:00:00Z",
        (False, "2026-06-02T01:00:00Z"),
    ),
    "Deny wins over Allow": (
        (a_window("0 0 * * *", 24.0, action=WindowAction.ALLOW), a_window("0 12 * * *", 1.0)),
        "2026-06-01T12:30:00Z",
        (False, "2026-06-01T13:00:00Z"),
    ),
    "a window longer than its period never closes": (
        (a_window("0 * * * *", 2.0),),
        "2026-06-01T12:30:00Z",
        (False, None),
    ),
    "a weekday in the zone's own week": (
        (a_window("0 22 * * 5", 10.0, "Europe/Zurich"),),
        "2026-06-05T20:30:00Z",
        (False, "2026-06-06T06:00:00Z"),
    ),
}


@pytest.mark.parametrize(("windows", "now", "expected"), CASES.values(), ids=CASES)
def test_hours(windows: tuple[Window, ...], now: str, expected: tuple[bool, str | None]) -> None:
    hours = lending_hours(windows, at(now))
    assert (hours.open, None if hours.until is None else hours.until) == (
        expected[0],
        None if expected[1] is None else at(expected[1]),
    )


CHANGES = {
    "an hour that spring skips: it opens when that hour is over": (
        ("30 2 * * *", "Europe/Zurich", "2026-03-28T12:00:00Z"),
        "2026-03-29T03:00:00+02:00",
    ),
    "an hour that autumn repeats: it opens once": (
        ("30 2 * * *", "Europe/Zurich", "2026-10-25T00:00:00Z"),
        "2026-10-25T02:30:00+02:00",
    ),
    "New York springs on another day": (
        ("30 2 * * *", "America/New_York", "2026-03-08T00:00:00Z"),
        "2026-03-08T03:00:00-04:00",
    ),
    "Lord Howe moves by half an hour": (
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z"),
        "2026-10-04T02:30:00+11:00",
    ),
}


@pytest.mark.parametrize(("asked", "opens"), CHANGES.values(), ids=CHANGES)
def test_a_change_of_daylight_saving_makes_no_window_longer_or_shorter(asked: tuple[str, str, str], opens: str) -> None:
    schedule, zone, now = asked
    first, second = next_spans((a_window(schedule, 2.0, zone),), at(now), most=2)
    assert local(first.opens, zone) == opens
    assert first.closes - first.opens == 2 * HOUR
    assert second.opens - first.opens >= 20 * HOUR


WRONG = {"no such hour": a_window("0 25 * * *"), "no such zone": a_window("0 1 * * *", zone="Mars/Olympus")}


@pytest.mark.parametrize("window", WRONG.values(), ids=WRONG)
def test_what_cannot_be_read_closes_the_pool_and_says_so(window: Window) -> None:
    hours = lending_hours((window,), Instant(0.0))
    assert not hours.open
    assert "cannot be read" in hours.why
    with pytest.raises(InvalidInput, match=r"25|Mars"):
        next_spans((window,), Instant(0.0))


LISTS = st.lists(st.tuples(st.sampled_from(WindowAction), SCHEDULES, st.integers(1, 1440)), min_size=1, max_size=3)


@settings(max_examples=30, deadline=None)
@given(asked=LISTS, around=st.sampled_from(CHANGES_OF_CLOCKS), start=st.integers(-1440, 1440))
def test_hours_agree_with_a_look_at_every_minute(
    asked: list[tuple[WindowAction, str, int]], around: tuple[str, str], start: int
) -> None:
    """Whether it is open, and for how long: what is promised comes to the minute, and nothing comes unsaid."""
    windows = [a_window(schedule, length / 60.0, around[0], action) for action, schedule, length in asked]
    now = Instant(moment(around[1]) + 60.0 * start)
    oracle = [openings(window.schedule, around) for window in windows]
    hours = lending_hours(windows, now)
    held = Open(windows, oracle)
    assert hours.open is held.at(now)
    for minute in range((DAYS - 2) * 24 * 60):
        later = Instant(now + 60.0 * minute)
        if hours.until is None:
            busy = any(sum(now <= at <= later for at in opens) >= MOST_OPENINGS - 1 for opens in oracle)
            assert busy or held.at(later) is hours.open
        else:
            assert held.at(later) is (hours.open if later < hours.until else not hours.open)
            if later >= hours.until:
                break


class Open:
    """What holds at a moment, by the openings that an oracle found."""

    def __init__(self, windows: list[Window], found: list[list[float]]) -> None:
        self.windows, self.found = windows, found

    def at(self, now: Instant) -> bool:
        """Whether loans may start."""
        current = [
            window.action
            for window, opens in zip(self.windows, self.found, strict=True)
            if (before := bisect_right(opens, now)) and now < opens[before - 1] + window.duration
        ]
        if WindowAction.DENY in current:
            return False
        return WindowAction.ALLOW in current or all(one.action is WindowAction.DENY for one in self.windows)


def test_what_cannot_be_foreseen_is_not_promised() -> None:
    """360 openings make one long one: the evening, which is known, is not its end."""
    windows = (a_window("* 0-5 * * *", 1 / 60, action=WindowAction.ALLOW), a_window("0 22 * * *"))
    assert lending_hours(windows, at("2026-06-01T00:00:00Z")).until is None
    assert lending_hours(windows, at("2026-06-01T04:30:00Z")).until == at("2026-06-01T06:00:00Z")


def test_a_timetable_says_what_a_fresh_look_says() -> None:
    table = Timetable()
    windows = (a_window("0 * * * *", 0.25), a_window("20 * * * *", 1 / 60))
    for second in range(0, 7200, 7):
        now = Instant(at("2026-06-01T00:00:00Z") + second)
        assert table.hours(windows, now).open is lending_hours(windows, now).open
        assert table.hours(windows, now).until == lending_hours(windows, now).until
    assert table.hours((), Instant(0.0)).open


def test_a_timetable_looks_once_a_change_or_minute() -> None:
    table = Timetable()
    windows = (a_window("0 22 * * *"),)
    noon = at("2026-06-01T12:00:00Z")
    first = table.hours(windows, noon)
    assert table.hours(windows, Instant(noon + 59.0)) is first
    assert table.hours(windows, Instant(noon + 61.0)) is not first
    assert table.hours(windows, Instant(noon - 3600.0)) is not first
