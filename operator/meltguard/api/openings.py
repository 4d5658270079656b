"""The moments at which a window opens: cron's fields on the clock on the wall, that clock in its own time zone.

Only readings of the clock are matched by cronsim. What they are in real time is worked out here: cronsim loses count
where clocks change, and in some zones never comes back. A schedule of fixed hours and minutes opens once for each
reading: when the skipped hour is over, and the first time in a repeated one. One that says `*` for hour or minute goes
by real time, as in Debian's cron: nothing in a skipped hour, all of both passes through a repeated one.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from meltguard.core.policy import Window
from meltguard.core.units import Instant
from meltguard.errors import InvalidInput

SECOND: Final = timedelta(seconds=1)

LARGEST_CHANGE: Final = 3 * 3600.0
"""No zone moves its clocks further at once (those that changed sides of the date line did so long ago)."""


def openings_after(window: Window, at: Instant) -> Iterator[Instant]:
    """The openings later than `at`, in order, each once.

    Raises:
        InvalidInput: the schedule or the time zone cannot be read; the text names it.
    """
    zone = zone_of(window)
    first = _reading(at, min(_offset(zone, at), _offset(zone, at + LARGEST_CHANGE))) - SECOND
    last = at
    for opening in _in_order(window, zone, _readings(window, first, reverse=False)):
        if opening > last:
            yield opening
            last = opening


def last_opening(window: Window, at: Instant) -> Instant | None:
    """The latest opening by `at` whose window is still open then; None where it is closed. Raises as above."""
    zone = zone_of(window)
    offsets = [_offset(zone, moment) for moment in (at, at - LARGEST_CHANGE, at - window.duration)]
    found: Instant | None = None
    for reading in _readings(window, _reading(at, max(offsets)) + SECOND, reverse=True):
        latest = reading.replace(tzinfo=UTC).timestamp() - min(offsets)  # nothing earlier on the wall comes later
        if latest <= (at - window.duration if found is None else found):
            break
        passed = [moment for moment in _moments(window, zone, reading) if moment <= at]
        found = max([*passed, *([] if found is None else [found])], default=None)
    return found if found is not None and at < found + window.duration else None


def zone_of(window: Window) -> ZoneInfo:
    """The window's time zone. Raises InvalidInput where there is no such zone."""
    try:
        return ZoneInfo(window.time_zone)
    except (KeyError, ValueError, OSError) as exc:
        text = f"timeZone {window.time_zone!r} is not known; use an IANA name like Europe/Zurich"
        raise InvalidInput(text) from exc


def clock_time(window: Window, at: Instant) -> str:
    """The minute on the clock of the window's time zone, as in "2026-03-01 14:00 Europe/Zurich". Raises as above."""
    zone = zone_of(window)
    return f"{datetime.fromtimestamp(at, zone):%Y-%m-%d %H:%M} {zone.key}"


def _in_order(window: Window, zone: ZoneInfo, readings: Iterator[datetime]) -> Iterator[Instant]:
    """The second pass through a repeated hour comes after all of the first."""
    held: list[Instant] = []
    for reading in readings:
        moments = _moments(window, zone, reading)
        while held and moments and held[0] <= moments[0]:
            yield held.pop(0)
        yield from moments[:1]
        held += moments[1:]
    yield from held


def _moments(window: Window, zone: ZoneInfo, reading: datetime) -> list[Instant]:
    """When the clock shows it: twice in a repeated hour, never in a skipped one."""
    first, second = (Instant(reading.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (0, 1))
    if first == second:
        return [first]
    minute, hour, *_ = window.schedule.split()
    if minute.startswith("*") or hour.startswith("*"):
        return [first, second] if first < second else []
    return [first] if first < second else [_change(zone, second, first)]


def _change(zone: ZoneInfo, before: Instant, after: Instant) -> Instant:
    """When the clocks changed between these two."""
    low, high = int(before), int(after)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(zone, middle) == _offset(zone, before) else (low, middle)
    return Instant(float(high))


def _readings(window: Window, start: datetime, *, reverse: bool) -> Iterator[datetime]:
    """What the clock on the wall shows when the schedule matches; `start` is not one of them."""
    try:
        return CronSim(window.schedule, start, reverse=reverse)
    except CronSimError as exc:
        text = f"schedule {window.schedule!r}: {exc}; write five cron fields, like 0 22 * * 5"
        raise InvalidInput(text) from exc


def _reading(at: float, offset: float) -> datetime:
    return datetime.fromtimestamp(at + offset, UTC).replace(microsecond=0, tzinfo=None)


def _offset(zone: ZoneInfo, at: float) -> float:
    ahead = datetime.fromtimestamp(at, zone).utcoffset()
    return ahead.total_seconds() if ahead is not None else 0.0
