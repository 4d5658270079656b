"""A service's calendar: what it asks for now, until when, and what comes next, each in its own time zone."""

import pytest

from meltguard.api.bookings import plan_of
from meltguard.api.quantities import parse_instant
from meltguard.api.windows import Timetable
from meltguard.core.policy import Booking, Window, WindowAction
from meltguard.core.units import Seconds

HOUR = 3600.0


def entry(schedule: str, hours: float, least: int, zone: str = "UTC") -> Booking:
    window = Window(action=WindowAction.ALLOW, schedule=schedule, duration=Seconds(hours * HOUR), time_zone=zone)
    return Booking(window=window, least=least)


WEEKDAYS = entry("0 8 * * 1-5", 10, 2, "Europe/Zurich")
LAUNCH = entry("0 9 24 11 *", 1, 5)
UNREADABLE = entry("0 8 31 2 *", 1, 9, "Europe/Nowhere")

CASES = {
    "before it opens": ((WEEKDAYS,), "2026-11-24T06:59:00Z", 0, "2 loans from 2026-11-24 08:00 Europe/Zurich on"),
    "open": ((WEEKDAYS,), "2026-11-24T07:00:00Z", 2, "2 loans until 2026-11-24 18:00 Europe/Zurich"),
    "closed again": ((WEEKDAYS,), "2026-11-24T17:00:00Z", 0, "2 loans from 2026-11-25 08:00 Europe/Zurich on"),
    "over the weekend": ((WEEKDAYS,), "2026-11-27T18:00:00Z", 0, "2 loans from 2026-11-30 08:00 Europe/Zurich on"),
    "of two, the one that asks for most": ((WEEKDAYS, LAUNCH), "2026-11-24T09:30:00Z", 5, "5 loans until"),
    "of two, the one that opens first": (
        (WEEKDAYS, LAUNCH),
        "2026-11-23T22:00:00Z",
        0,
        "2 loans from 2026-11-24 08:00",
    ),
}


@pytest.mark.parametrize(("calendar", "now", "least", "said"), CASES.values(), ids=CASES)
def test_what_a_calendar_asks_for(calendar: tuple[Booking, ...], now: str, least: int, said: str) -> None:
    plan = plan_of(calendar, Timetable(), parse_instant(now))
    assert plan.least == least
    assert said in plan.why
    assert not plan.problem


def test_an_entry_that_cannot_be_read_asks_for_nothing_and_the_others_hold() -> None:
    plan = plan_of((UNREADABLE, WEEKDAYS), Timetable(), parse_instant("2026-11-24T07:30:00Z"))
    assert plan.least == 2
    assert "Europe/Nowhere" in plan.problem
