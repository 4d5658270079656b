"""What a service's calendar asks for: at least so many loans while a window is open."""

import math
from collections.abc import Sequence

from meltguard.api.openings import clock_time
from meltguard.api.windows import Timetable
from meltguard.core.policy import Booking
from meltguard.core.seen import Hours, Plan
from meltguard.core.units import Instant
from meltguard.core.wording import counted


def plan_of(calendar: Sequence[Booking], timetable: Timetable, now: Instant) -> Plan:
    """The most that an open entry asks for; else what comes next. An entry that cannot be read asks for nothing.

    >>> plan_of((), Timetable(), Instant(0.0)).least
    0
    """
    found = [(one, timetable.hours((one.window,), now)) for one in calendar]
    problem = next((hours.problem for _, hours in found if hours.problem), "")
    opened = [(one, hours) for one, hours in found if hours.open]
    if opened:
        one, hours = max(opened, key=_most)
        why = f"the calendar asks for {counted(one.least, 'loan')}{_when(' until', one, hours)}"
        return Plan(least=one.least, why=why, problem=problem)
    coming = [(hours.until, one, hours) for one, hours in found if hours.until is not None]
    if not coming:
        return Plan(problem=problem)
    _, one, hours = min(coming, key=lambda entry: entry[0])
    asked = counted(one.least, "loan")
    return Plan(least=0, why=f"the calendar asks for {asked}{_when(' from', one, hours)} on", problem=problem)


def _most(entry: tuple[Booking, Hours]) -> tuple[int, float]:
    """Who asks for most, of those who does so for longest."""
    one, hours = entry
    return one.least, math.inf if hours.until is None else hours.until


def _when(word: str, one: Booking, hours: Hours) -> str:
    return "" if hours.until is None else f"{word} {clock_time(one.window, hours.until)}"
