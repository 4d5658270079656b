"""An oracle for schedules: it looks at every minute of the days around a change of clocks, one after the other."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

CHANGES = (
    ("UTC", "2026-06-01T00:00"),
    ("Asia/Kolkata", "2026-06-01T00:00"),
    ("Europe/Zurich", "2026-03-29T01:00"),
    ("Europe/Zurich", "2026-10-25T01:00"),
    ("America/New_York", "2026-03-08T07:00"),
    ("America/New_York", "2026-11-01T06:00"),
    ("America/St_Johns", "2026-11-01T04:30"),
    ("Australia/Lord_Howe", "2026-04-04T15:00"),
    ("Australia/Lord_Howe", "2026-10-03T15:30"),
    ("Pacific/Chatham", "2026-04-04T14:00"),
    ("Pacific/Chatham", "2026-09-26T14:00"),
    ("Africa/Casablanca", "2026-02-15T02:00"),
)
"""Zones with the moment (UTC) at which their clocks change; some by half an hour, some at a quarter to."""

DAYS = 3
"""So far the oracle looks to either side of the change."""

MINUTE = timedelta(minutes=1)
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


def moment(change: str) -> float:
    """Seconds since the epoch."""
    return datetime.fromisoformat(change).replace(tzinfo=UTC).timestamp()


@cache
def minutes(zone: str, change: str) -> tuple[tuple[float, datetime, bool], ...]:
    """Every minute around the change: when it is, what the clock shows, and whether it shows it again."""
    begin = datetime.fromtimestamp(moment(change), UTC) - timedelta(days=DAYS)
    found = []
    for count in range(2 * DAYS * 24 * 60):
        now = begin + count * MINUTE
        wall = now.astimezone(ZoneInfo(zone))
        found.append((now.timestamp(), wall.replace(tzinfo=None, fold=0), wall.fold == 1))
    return tuple(found)


def openings(schedule: str, around: tuple[str, str]) -> list[float]:
    """When the schedule opens, minute by minute."""
    fields = schedule.split()
    matches = _matcher(fields)
    by_real_time = fields[0].startswith("*") or fields[1].startswith("*")
    found: list[float] = []
    before: datetime | None = None
    for at, wall, again in minutes(*around):
        skipped = [] if before is None else _between(before, wall)
        late = not by_real_time and any(map(matches, skipped))
        if late or (matches(wall) and (by_real_time or not again)):
            found.append(at)
        before = wall
    return found


def _between(before: datetime, wall: datetime) -> list[datetime]:
    missing = int((wall - before) / MINUTE) - 1
    return [before + count * MINUTE for count in range(1, missing + 1)]


def _matcher(fields: list[str]) -> Callable[[datetime], bool]:
    minute, hour, day, month, weekday = (_values(*pair) for pair in zip(fields, RANGES, strict=True))
    either = not fields[2].startswith("*") and not fields[4].startswith("*")

    def matches(wall: datetime) -> bool:
        if wall.minute not in minute or wall.hour not in hour or wall.month not in month:
            return False
        days = (wall.day in day, wall.isoweekday() % 7 in weekday)
        return any(days) if either else all(days)

    return matches


def _values(field: str, bounds: tuple[int, int]) -> set[int]:
    found: set[int] = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        first, _, last = span.partition("-")
        low, high = bounds if span == "*" else (int(first), int(last or first))
        found |= set(range(low, high + 1, int(step or 1)))
    return found


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    one = st.integers(low, high)
    span = st.tuples(st.integers(low, high - 1), one).map(lambda pair: f"{pair[0]}-{max(pair[0] + 1, pair[1])}")
    return st.one_of(
        st.just("*"),
        one.map(str),
        span,
        st.sampled_from((2, 5, 7, 15, 20)).map(lambda step: f"*/{step}"),
        st.tuples(span, st.integers(2, 9)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
        st.lists(one, min_size=2, max_size=3).map(lambda values: ",".join(map(str, values))),
    )


SCHEDULES = st.tuples(
    _field(0, 59),
    st.one_of(_field(0, 4), _field(0, 23)),  # clocks change at night
    st.one_of(st.just("*"), _field(1, 28)),
    st.just("*"),
    st.one_of(st.just("*"), _field(0, 6)),
).map(" ".join)
"""Five fields as people write them, and as they do not."""
