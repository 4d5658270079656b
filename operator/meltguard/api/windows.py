"""When a pool lends: its windows, read in their own time zones.

A window opens when its schedule says so on the wall clock of its zone, and stays open for its duration in real time:
the hour that daylight saving skips or repeats makes it neither shorter nor longer. A schedule that falls into a skipped
hour opens when that hour is over; one in a repeated hour opens once (as Debian's cron, which cronsim follows).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from meltguard.core.policy import Window, WindowAction
from meltguard.core.seen import Hours
from meltguard.core.units import Instant
from meltguard.errors import InvalidInput

MOST_CHANGES: Final = 64
"""How many openings and closings are looked through for the next change; beyond it, none is promised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One opening of a window."""

    window: Window
    opens: Instant
    closes: Instant


def lending_hours(windows: Sequence[Window], now: Instant) -> Hours:
    """Whether loans may start now. Deny wins; where any Allow exists, hours that none names are closed, else open.

    >>> lending_hours((), Instant(0.0)).open
    True
    """
    if not windows:
        return Hours(open=True, why="the pool has no windows: it lends at any time", until=None)
    try:
        return _hours(windows, now)
    except InvalidInput as exc:
        return Hours(open=False, why=f"its windows cannot be read, so it lends nothing: {exc}", until=None)


def next_spans(windows: Sequence[Window], now: Instant, most: int = 3) -> tuple[Span, ...]:
    """The openings that are under way or come next, over all windows, by when they open.

    Raises:
        InvalidInput: a schedule or a time zone cannot be read; the text names it.
    """
    found = [span for window in windows for span in islice(_from(window, now), most)]
    return tuple(sorted(found, key=lambda span: span.opens)[:most])


def _hours(windows: Sequence[Window], now: Instant) -> Hours:
    state = _is_open(windows, now)
    moments = sorted({at for window in windows for span in _soon(window, now) for at in (span.opens, span.closes)})
    later = [at for at in moments if at > now][:MOST_CHANGES]
    until = next((at for at in later if _is_open(windows, at)[0] is not state[0]), None)
    return Hours(open=state[0], why=state[1], until=until)


def _is_open(windows: Sequence[Window], at: Instant) -> tuple[bool, str]:
    current = [span for window in windows if (span := _current(window, at)) is not None]
    denies = [span for span in current if span.window.action is WindowAction.DENY]
    if denies:
        return False, f"{_said(max(denies, key=lambda span: span.closes))} denies loans"
    allows = [span for span in current if span.window.action is WindowAction.ALLOW]
    if allows:
        return True, f"{_said(max(allows, key=lambda span: span.closes))} allows loans"
    if any(window.action is WindowAction.ALLOW for window in windows):
        return False, "no Allow window is open, and hours that none names are closed"
    return True, "no Deny window is open"


def _current(window: Window, at: Instant) -> Span | None:
    """The latest opening that still holds."""
    zone = _zone(window)
    before = _schedule(window, datetime.fromtimestamp(at, zone) + timedelta(seconds=1), reverse=True)
    last = next(before, None)
    span = None if last is None else _span(window, last)
    return span if span is not None and span.opens <= at < span.closes else None


def _from(window: Window, now: Instant) -> Iterator[Span]:
    """The opening under way, then those to come."""
    current = _current(window, now)
    if current is not None:
        yield current
    for opening in _schedule(window, datetime.fromtimestamp(now, _zone(window)), reverse=False):
        yield _span(window, opening)


def _soon(window: Window, now: Instant) -> Iterator[Span]:
    return islice(_from(window, now), MOST_CHANGES // 2)


def _span(window: Window, opening: datetime) -> Span:
    opens = Instant(opening.astimezone(UTC).timestamp())
    return Span(window=window, opens=opens, closes=Instant(opens + window.duration))


def _schedule(window: Window, start: datetime, *, reverse: bool) -> CronSim:
    try:
        return CronSim(window.schedule, start, reverse=reverse)
    except CronSimError as exc:
        text = f"schedule {window.schedule!r}: {exc}; write five cron fields, like 0 22 * * 5"
        raise InvalidInput(text) from exc


def _zone(window: Window) -> ZoneInfo:
    try:
        return ZoneInfo(window.time_zone)
    except (KeyError, ValueError, OSError) as exc:
        text = f"timeZone {window.time_zone!r} is not known; use an IANA name like Europe/Zurich"
        raise InvalidInput(text) from exc


def _said(span: Span) -> str:
    window = span.window
    until = datetime.fromtimestamp(span.closes, _zone(window)).strftime("%Y-%m-%d %H:%M")
    return f"window {window.schedule!r} ({window.time_zone}, open until {until})"
