"""Time zones by IANA name."""

from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from meltguard.core.quota import UtcOffset
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
