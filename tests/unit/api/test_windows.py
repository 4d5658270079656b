"""Windows, against a minute-by-minute reading of the clock on the wall."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.api.windows import lending_hours, next_spans
from meltguard.core.policy import Window, WindowAction
from meltguard.core.units import Instant, Seconds
from meltguard.errors import InvalidInput

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


MINUTE = timedelta(minutes=1)


@settings(max_examples=60, deadline=None)
@given(
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
    day=st.one_of(st.just("*"), st.integers(0, 6).map(str)),
    length=st.integers(1, 40),
    zone=st.sampled_from(["UTC", "Europe/Zurich", "America/New_York", "Asia/Kolkata"]),
    start=st.integers(0, 364 * 24 * 60),
)
def test_the_clock_on_the_wall_agrees(  # noqa: PLR0913, PLR0917 - Hypothesis hands them in
    minute: int, hour: int, day: str, length: int, zone: str, start: int
) -> None:
    """An oracle that looks at every minute of the days before; it steers clear of the hours that clocks change in."""
    now = datetime(2026, 1, 3, tzinfo=UTC) + start * MINUTE
    window = a_window(f"{minute} {hour} * * {day}", length, zone)
    opened = [
        moment
        for back in range(length * 60)
        if _opens(window, moment := (now - back * MINUTE).replace(second=0, microsecond=0), (minute, hour, day))
    ]
    if any(_near_change(moment, zone) for moment in [now, now - timedelta(hours=length)]):
        return
    assert lending_hours((window,), Instant(now.timestamp())).open == (not opened)


def _opens(window: Window, moment: datetime, fields: tuple[int, int, str]) -> bool:
    wall = moment.astimezone(ZoneInfo(window.time_zone))
    minute, hour, day = fields
    return (wall.minute, wall.hour) == (minute, hour) and (day == "*" or wall.isoweekday() % 7 == int(day))


def _near_change(moment: datetime, zone: str) -> bool:
    around = [(moment + timedelta(days=days)).astimezone(ZoneInfo(zone)).utcoffset() for days in (-3, 0, 3)]
    return len(set(around)) > 1
