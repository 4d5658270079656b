"""The one place that asks the time."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

from meltguard.core.units import Instant, Seconds


class SystemClock:
    """The machine's clocks, behind the Clock port."""

    def now(self) -> Instant:
        """The time of day, in seconds since the epoch, UTC."""
        return Instant(time.time())  # noqa: TID251 - this is that place

    # Seconds on a clock that never jumps; only differences mean anything. The function itself: a decision asks twice.
    elapsed = staticmethod(cast("Callable[[], Seconds]", time.monotonic))


def rfc3339(at: Instant) -> str:
    """An instant as Kubernetes writes it, to the second.

    >>> rfc3339(Instant(0.0))
    '1970-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(at: Instant) -> str:
    """An instant as Kubernetes' MicroTime writes it (Lease renewTime).

    >>> rfc3339_micro(Instant(0.25))
    '1970-01-01T00:00:00.250000Z'
    """
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> Instant:
    """The instant that an RFC 3339 text names; ValueError where it names none.

    >>> parse_rfc3339("1970-01-01T00:00:01Z")
    1.0
    """
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; end it with Z or an offset such as +01:00")
    return Instant(parsed.timestamp())
