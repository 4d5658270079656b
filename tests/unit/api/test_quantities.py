import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.api import quantities
from meltguard.api.quantities import (
    CRON,
    parse_duration,
    parse_instant,
    parse_measure,
    parse_number,
    parse_percent,
    parse_rate,
    parse_share,
)
from meltguard.errors import InvalidInput

Parse = Callable[[str], float]

READ: dict[str, tuple[Parse, str, float]] = {
    "seconds": (parse_duration, "30s", 30.0),
    "nothing": (parse_duration, "0s", 0.0),
    "hours and minutes": (parse_duration, "1h30m", 5400.0),
    "parts of a second": (parse_duration, "1.5s", 1.5),
    "milliseconds, not minutes and seconds": (parse_duration, "250ms", 0.25),
    "a minute's rate": (parse_rate, "40/m", 40 / 60),
    "an hour's rate": (parse_rate, "1000/h", 1000 / 3600),
    "a broken rate": (parse_rate, "0.5/s", 0.5),
    "a share": (parse_share, "2.5%", 0.025),
    "all": (parse_share, "100%", 1.0),
    "a whole percentage": (parse_percent, "7%", 7),
    "a number": (parse_number, "1.80", 1.8),
    "a duration as a measure": (parse_measure, "4s", 4.0),
    "a number as a measure": (parse_measure, "80", 80.0),
    "an instant in UTC": (parse_instant, "2026-12-01T18:00:00Z", 1796148000.0),
    "the same instant elsewhere": (parse_instant, "2026-12-01T19:00:00+01:00", 1796148000.0),
    "an instant between seconds": (parse_instant, "1970-01-01T00:00:00.25Z", 0.25),
}


@pytest.mark.parametrize(("parse", "text", "value"), READ.values(), ids=READ)
def test_quantities_are_read(parse: Parse, text: str, value: float) -> None:
    assert parse(text) == pytest.approx(value)


REFUSED: dict[str, tuple[Parse, str, str]] = {
    "no unit": (parse_duration, "30", "such as 30s, 2m or 1h30m"),
    "days": (parse_duration, "2d", "such as 30s"),
    "a negative duration": (parse_duration, "-5s", "such as 30s"),
    "a gap": (parse_duration, "1h 30m", "such as 30s"),
    "a line break after it": (parse_duration, "30s\n", "such as 30s"),
    "digits of another script": (parse_duration, "٣s", "such as 30s"),
    "more than a decade of hours": (parse_duration, "100000h", "such as 30s"),
    "a rate a day": (parse_rate, "40/d", "such as 40/m"),
    "a bare rate": (parse_rate, "40", "such as 40/m"),
    "a share beyond all": (parse_share, "101%", "from 0% to 100%"),
    "more than all by a little": (parse_share, "100.5%", "from 0% to 100%"),
    "a broken percentage": (parse_percent, "2.5%", "a whole percentage"),
    "a number with an exponent": (parse_number, "1e3", 'in quotes, such as "70"'),
    "not a number": (parse_number, "NaN", "in quotes"),
    "a measure in words": (parse_measure, "hot", "in quotes"),
    "no time zone": (parse_instant, "2026-12-01T18:00:00", "with its zone"),
    "a day that is none": (parse_instant, "2026-02-30T00:00:00Z", "day is out of range"),
    "only a day": (parse_instant, "2026-12-01", "with its zone"),
}


@pytest.mark.parametrize(("parse", "text", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_quantity_is_refused_with_an_example(parse: Parse, text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(said)) as caught:
        parse(text)
    assert repr(text) in str(caught.value)


@given(hours=st.integers(0, 99_999), minutes=st.integers(0, 9_999_999), seconds=st.integers(0, 9_999_999))
def test_the_parts_of_a_duration_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@given(st.from_regex(quantities.DURATION, fullmatch=True))
def test_whatever_has_the_form_of_a_duration_has_a_length(text: str) -> None:
    assert parse_duration(text) >= 0


SCHEDULES = {
    "0 22 * * 5": True,
    "*/15 8-18,20 1,15 1-12/3 1-5": True,
    "59 23 31 12 7": True,
    "60 0 * * *": False,
    "0 24 * * *": False,
    "0 0 0 * *": False,
    "0 0 * 13 *": False,
    "0 0 * * 8": False,
    "0 0 * * MON": False,
    "0 0 * *": False,
    "*/0 * * * *": False,
    "0  0 * * *": False,
}


@pytest.mark.parametrize(("text", "sound"), SCHEDULES.items(), ids=SCHEDULES)
def test_schedules_have_five_fields_of_numbers_in_range(text: str, sound: bool) -> None:  # noqa: FBT001 - a table
    assert quantities.is_written(CRON, text) is sound
