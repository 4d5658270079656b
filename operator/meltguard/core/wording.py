"""How rates and times are written, everywhere the same."""

from collections.abc import Sequence
from typing import Final

from meltguard.core.units import Instant, UnitsPerSecond

DAY: Final = 86_400
DAYS_TO_1970: Final = 719_468  # since the first of March of the year 0: leap days then end each year
ERA: Final = 146_097  # days in 400 years, after which the calendar repeats
SHORT_RATE: Final = 10.0  # below this a rate has a digit after the point


def per_minute(rate: UnitsPerSecond | float | None) -> str:
    """A rate as people write it in a policy.

    >>> per_minute(0.5)
    '30/m'
    """
    if rate is None:
        return "none"
    minute = rate * 60.0
    return f"{minute:.0f}/m" if minute >= SHORT_RATE else f"{minute:.1f}/m"


def is_more(rate: float, other: float) -> bool:
    """Whether one rate is more than another as they are written: a sentence must not say so of equal numbers.

    >>> is_more(8.004, 8.0)
    False
    """
    return float(per_minute(rate).removesuffix("/m")) > float(per_minute(other).removesuffix("/m"))


def counted(count: int, one: str, many: str = "") -> str:
    """A number of things; `many` is for what has more than an s at its end.

    >>> counted(1, "node"), counted(0, "node"), counted(2, "pod is", "pods are")
    ('1 node', '0 nodes', '2 pods are')
    """
    return f"{count} {one if count == 1 else many or one + 's'}"


def listed(items: Sequence[str], most: int = 3, apart: str = ", ") -> str:
    """The first ones; how many more there are.

    >>> listed(["gpu-1", "gpu-2", "gpu-3", "gpu-4", "gpu-5"])
    'gpu-1, gpu-2, gpu-3 and 2 more'
    """
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return apart.join(items[:most]) + more


def when(at: Instant) -> str:
    """An instant as Kubernetes writes it, to the second; the core asks no calendar of the machine.

    >>> when(Instant(1_800_000_000.0))
    '2027-01-15T08:00:00Z'
    """
    days, second = divmod(int(at), DAY)
    era, of_era = divmod(days + DAYS_TO_1970, ERA)
    of_years = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * of_years + of_years // 4 - of_years // 100)
    march = (5 * of_year + 2) // 153
    day, month = of_year - (153 * march + 2) // 5 + 1, (march + 2) % 12 + 1
    year = 400 * era + of_years + (month <= 2)  # noqa: PLR2004 - January and February belong to the next year
    return f"{year:04}-{month:02}-{day:02}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"
