"""Quantities as people write them in a spec: durations, rates, percents, numbers, instants.

Each has a pattern that Python and the API server's CEL (RE2) read alike; whoever parses gets a unit.
Numbers are strings because floats in custom resources do not survive every client.
"""

import re
from datetime import datetime
from typing import Final

from meltguard.core.units import Instant, Percent, Seconds, Share, UnitsPerSecond
from meltguard.errors import InvalidInput

DURATION: Final = "([0-9]{1,7}([.][0-9]{1,3})?(ms|s|m)|[0-9]{1,5}([.][0-9]{1,3})?h){1,3}"
"""Bounded so that no sum overflows CEL's durations (292 years)."""

RATE: Final = "[0-9]{1,7}([.][0-9]{1,3})?/(s|m|h)"
SHARE: Final = "(100|[0-9]{1,2}([.][0-9]{1,2})?)%"
PERCENT: Final = "(100|[0-9]{1,2})%"
NUMBER: Final = "[0-9]{1,9}([.][0-9]{1,6})?"
INSTANT: Final = (
    "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    "T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?"
    "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)


def _cron_field(one: str) -> str:
    span = f"([*]|{one}(-{one})?)(/[1-9][0-9]?)?"
    return f"{span}(,{span})*"


CRON: Final = " ".join(
    map(
        _cron_field,
        ("[0-5]?[0-9]", "([01]?[0-9]|2[0-3])", "(0?[1-9]|[12][0-9]|3[01])", "(0?[1-9]|1[0-2])", "[0-7]"),
    )
)
"""Minute, hour, day of month, month, day of week; numbers only."""

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile("([0-9.]+)(ms|s|m|h)")


def is_written(pattern: str, text: str) -> bool:
    """Whether all of a text has the form of one of this module's patterns."""
    return re.fullmatch(pattern, text) is not None


def parse_duration(text: str) -> Seconds:
    """A length of time; InvalidInput where it is none.

    >>> parse_duration("1h30m"), parse_duration("7.5s"), parse_duration("250ms")
    (5400.0, 7.5, 0.25)
    """
    _require(DURATION, text, "a duration, such as 30s, 2m or 1h30m")
    return Seconds(sum(float(amount) * _SECONDS[unit] for amount, unit in _PART.findall(text)))


def parse_rate(text: str) -> UnitsPerSecond:
    """Image units over time; InvalidInput where it is no rate.

    >>> parse_rate("30/m"), parse_rate("2/s"), parse_rate("900/h")
    (0.5, 2.0, 0.25)
    """
    _require(RATE, text, "a rate, such as 40/m, 2/s or 1000/h")
    amount, _, unit = text.partition("/")
    return UnitsPerSecond(float(amount) / _SECONDS[unit])


def parse_share(text: str) -> Share:
    """A part of a whole, 0 to 1; InvalidInput where it is no percentage.

    >>> parse_share("2.5%")
    0.025
    """
    _require(SHARE, text, "a percentage from 0% to 100%, such as 2% or 2.5%")
    return Share(float(text.removesuffix("%")) / 100.0)


def parse_percent(text: str) -> Percent:
    """A whole percentage, 0 to 100; InvalidInput where it is none.

    >>> parse_percent("50%")
    50
    """
    _require(PERCENT, text, "a whole percentage from 0% to 100%, such as 50%")
    return Percent(int(text.removesuffix("%")))


def parse_number(text: str) -> float:
    """A number that is not negative; InvalidInput where it is none.

    >>> parse_number("1.80")
    1.8
    """
    _require(NUMBER, text, 'a number in quotes, such as "70" or "1.80"')
    return float(text)


def parse_measure(text: str) -> float:
    """A point on a signal's scale: seconds where it is a duration, else the bare number; InvalidInput otherwise.

    >>> parse_measure("4s"), parse_measure("80")
    (4.0, 80.0)
    """
    return parse_duration(text) if is_written(DURATION, text) else parse_number(text)


def parse_instant(text: str) -> Instant:
    """A moment; InvalidInput where the text is not RFC 3339 with a time zone, or names no day.

    >>> parse_instant("1970-01-01T01:00:00+01:00")
    0.0
    """
    wanted = "a date and time with its zone, such as 2026-12-01T18:00:00Z"
    _require(INSTANT, text, wanted)
    try:
        return Instant(datetime.fromisoformat(text).timestamp())
    except ValueError as exc:
        raise InvalidInput(f"{text!r} is not {wanted}: {exc}") from exc


def _require(pattern: str, text: str, wanted: str) -> None:
    if not is_written(pattern, text):
        raise InvalidInput(f"{text!r} is not {wanted}")
