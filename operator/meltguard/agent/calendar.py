"""Time zones by IANA name."""

from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from meltguard.core.quota import Period, Span, UtcOffset, span_of
from meltguard.core.units import Instant, Seconds


@lru_cache(maxsize=64)
def zone_offset(name: str) -> UtcOffset | None:
    """How a zone's clock runs; None where there is no such zone."""
    try:
        zone = ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # unknown, not a name at all, or a folder's name
        return None

    def offset(at: Instant) -> Seconds:
        moved = datetime.fromtimestamp(at, zone).utcoffset()
        return Seconds(moved.total_seconds() if moved is not None else 0.0)

    return offset


class Calendar:
    """Spans of zones. The last one of each is kept: nearly every question is about it, and finding one takes 60 us."""

    def __init__(self) -> None:
        self._spans: dict[tuple[str, Period], Span] = {}

    def span(self, at: Instant, zone: str, period: Period) -> Span | None:
        """The zone's calendar period that an instant is in; None where there is no such zone."""
        kept = self._spans.get((zone, period))
        if kept is not None and kept.holds(at):
            return kept
        offset = zone_offset(zone)
        if offset is None:
            return None
        span = self._spans[zone, period] = span_of(at, offset, period)
        return span
