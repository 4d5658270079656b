"""When a pool lends: its windows, read in their own time zones.

A window opens when its schedule says so on the wall clock of its zone, and stays open for its duration in real time:
the hour that daylight saving skips or repeats makes it neither shorter nor longer.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import merge
from itertools import groupby, islice
from typing import Final

from meltguard.api.openings import clock_time, last_opening, openings_after
from meltguard.core.policy import Window, WindowAction
from meltguard.core.seen import Hours
from meltguard.core.units import Instant, Seconds
from meltguard.errors import InvalidInput

MOST_OPENINGS: Final = 128
"""How many openings of one window are looked through for the next change; beyond them, none is promised."""

WORDS_HOLD: Final = Seconds(60.0)
"""A timetable's answer is right until the next change; which window it names may be old by this much."""

MOST_REMEMBERED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One opening of a window."""

    window: Window
    opens: Instant
    closes: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A window opens or closes."""

    at: Instant
    window: int  # its place in the pool's list
    opens: bool | None  # None: it was not looked further


@dataclass(slots=True)
class Timetable:
    """The hours of many pools, worked out once per change: services ask every two seconds."""

    known: dict[tuple[Window, ...], tuple[Instant, Hours]] = field(default_factory=dict)  # with when it was asked

    def hours(self, windows: tuple[Window, ...], now: Instant) -> Hours:
        """As `lending_hours`."""
        asked, hours = self.known.get(windows, (None, None))
        if asked is not None and hours is not None and 0 <= now - asked < WORDS_HOLD and _still(hours, now):
            return hours
        if len(self.known) >= MOST_REMEMBERED:
            self.known.clear()
        self.known[windows] = (now, lending_hours(windows, now))
        return self.known[windows][1]


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
        why = f"its windows cannot be read, so it lends nothing: {exc}"
        return Hours(open=False, why=why, until=None, problem=str(exc))


def next_spans(windows: Sequence[Window], now: Instant, most: int = 3) -> tuple[Span, ...]:
    """The openings that are under way or come next, over all windows, by when they open.

    Raises:
        InvalidInput: a schedule or a time zone cannot be read; the text names it.
    """
    found = [span for window in windows for span in islice(_spans(window, now), most)]
    return tuple(sorted(found, key=lambda span: span.opens)[:most])


def _hours(windows: Sequence[Window], now: Instant) -> Hours:
    current = frozenset(number for number, window in enumerate(windows) if last_opening(window, now) is not None)
    hours = _answer(windows, current)
    until = _next_change(windows, current, now)
    if until is None:
        return hours
    said = clock_time(windows[min(current, default=0)], until)
    return replace(hours, why=f"{hours.why}; until {said}", until=until)


def _answer(windows: Sequence[Window], current: Collection[int]) -> Hours:
    """What holds while these windows are open, and which one says so."""
    denies = [windows[number] for number in sorted(current) if windows[number].action is WindowAction.DENY]
    allows = [windows[number] for number in sorted(current) if windows[number].action is WindowAction.ALLOW]
    if denies:
        return Hours(open=False, why=f"{_said(denies[0])} denies loans", until=None)
    if allows:
        return Hours(open=True, why=f"{_said(allows[0])} allows loans", until=None)
    if any(window.action is WindowAction.ALLOW for window in windows):
        return Hours(open=False, why="no Allow window is open, and hours that none names are closed", until=None)
    return Hours(open=True, why="no Deny window is open", until=None)


def _next_change(windows: Sequence[Window], current: Collection[int], now: Instant) -> Instant | None:
    """When the answer becomes another; None where it never does, or not among the openings that are looked through."""
    holds = _answer(windows, current).open
    opened = set(current)
    edges = merge(*(_edges(number, window, now) for number, window in enumerate(windows)), key=_when)
    for at, together in groupby(edges, key=_when):
        for edge in together:
            if edge.opens is None:
                return None
            (opened.add if edge.opens else opened.discard)(edge.window)
        if at > now and _answer(windows, opened).open is not holds:
            return at
    return None


def _edges(number: int, window: Window, now: Instant) -> Iterator[Edge]:
    """Openings that overlap or touch are one."""
    closes: Instant | None = None
    for span in islice(_spans(window, now), MOST_OPENINGS):
        if closes is None or span.opens > closes:
            if closes is not None:
                yield Edge(at=closes, window=number, opens=False)
            yield Edge(at=span.opens, window=number, opens=True)
        closes = span.closes
    if closes is not None:
        yield Edge(at=closes, window=number, opens=None)


def _spans(window: Window, now: Instant) -> Iterator[Span]:
    """The opening under way, then those to come."""
    current = last_opening(window, now)
    if current is not None:
        yield _span(window, current)
    for opening in openings_after(window, now):
        yield _span(window, opening)


def _span(window: Window, opens: Instant) -> Span:
    return Span(window=window, opens=opens, closes=Instant(opens + window.duration))


def _still(hours: Hours, now: Instant) -> bool:
    return hours.until is None or now < hours.until


def _when(edge: Edge) -> Instant:
    return edge.at


def _said(window: Window) -> str:
    return f"window {window.schedule!r} ({window.time_zone})"
