"""From a pool's scaleRef to the terms that orders are decided on, and the calendar that its spend is counted in."""

from datetime import datetime
from zoneinfo import ZoneInfo

from meltguard.api import quantities as read
from meltguard.api.pool_scale import ScaleRef
from meltguard.core.quota import span_of
from meltguard.core.scaling import CalendarDay, Scaling
from meltguard.core.spend import Calendar
from meltguard.core.units import Gpus, Instant, Money, Seconds
from meltguard.errors import InvalidInput


def scaling_of(ref: ScaleRef) -> Scaling:
    """The terms."""
    return Scaling(
        api_version=ref.api_version,
        kind=ref.kind,
        name=ref.name,
        namespace=ref.namespace or "",
        least=ref.least,
        most=ref.most,
        gpus_per_node=Gpus(ref.gpus_per_node),
        arrive_within=read.parse_duration(ref.arrive_within),
        idle_after=read.parse_duration(ref.idle_after),
        removal=ref.removal,
        refused_by=ref.refused_by or "",
        per_day=Money(read.parse_number(ref.spend.per_day)),
        per_month=Money(read.parse_number(ref.spend.per_month)),
        time_zone=ref.spend.time_zone,
    )


def calendar_of(time_zone: str) -> Calendar:
    """The days of a zone, as its clocks show them: of 23 or 25 hours where they are moved.

    Raises:
        InvalidInput: there is no such zone.
    """
    try:
        zone = ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError) as exc:
        raise InvalidInput(f"spend.timeZone {time_zone!r} is not known; use an IANA name like Europe/Zurich") from exc

    def offset(at: Instant) -> Seconds:
        moved = datetime.fromtimestamp(at, zone).utcoffset()
        return Seconds(moved.total_seconds() if moved is not None else 0.0)

    known: dict[str, tuple[Instant, CalendarDay]] = {}

    def day_of(at: Instant) -> CalendarDay:
        for start, day in known.values():
            if start <= at < day.ends:
                return day
        span = span_of(at, offset)
        day = CalendarDay(day=datetime.fromtimestamp(span.start, zone).date().isoformat(), ends=span.end)
        known[day.day] = (span.start, day)
        return day

    return day_of
