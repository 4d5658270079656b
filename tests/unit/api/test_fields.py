"""Fields that cut, and lists that refuse what is there twice."""

from typing import Annotated

import pytest
from pydantic import TypeAdapter, ValidationError

from meltguard.api import fields
from meltguard.api.policy_status import SignalStatus

CUT = {
    "short enough": ("as it is", "as it is"),
    "just long enough": ("x" * 20, "x" * 20),
    "too long": ("x" * 21, "x" * 17 + "..."),
    "several lines": ("one\n  two\tthree", "one two three"),
}


@pytest.mark.parametrize(("given", "kept"), CUT.values(), ids=CUT)
def test_a_text_becomes_one_line_within_its_bound(given: str, kept: str) -> None:
    assert TypeAdapter(Annotated[str, fields.Clipped(20)]).validate_python(given) == kept


def test_a_list_keeps_its_first_items() -> None:
    assert TypeAdapter(Annotated[tuple[int, ...], fields.Clipped(3)]).validate_python([1, 2, 3, 4]) == (1, 2, 3)


def test_a_value_of_another_kind_is_still_refused() -> None:
    with pytest.raises(ValidationError, match="valid string"):
        TypeAdapter(Annotated[str, fields.Clipped(3)]).validate_python(1234)


def test_items_of_one_name_are_refused() -> None:
    signals = TypeAdapter(Annotated[tuple[SignalStatus, ...], fields.ListMap("name")])
    with pytest.raises(ValidationError, match="name 'wait' is there twice: remove one"):
        signals.validate_python([{"name": "wait"}, {"name": "heat"}, {"name": "wait"}])


def test_a_set_refuses_a_text_twice() -> None:
    with pytest.raises(ValidationError, match="item 'a' is there twice"):
        TypeAdapter(Annotated[tuple[str, ...], fields.ListSet()]).validate_python(["a", "b", "a"])


EDGES = {
    "the least": ("1s", True),
    "the most": ("1h", True),
    "the most in another unit": ("60m", True),
    "a little less": ("999ms", False),
    "a little more": ("3600.001s", False),
}


@pytest.mark.parametrize(("text", "sound"), EDGES.values(), ids=EDGES)
def test_a_duration_includes_its_bounds(text: str, sound: bool) -> None:  # noqa: FBT001 - a table
    adapter = TypeAdapter(Annotated[str, fields.duration("dwell", "1s", "1h")])
    if sound:
        assert adapter.validate_python(text) == text
        return
    with pytest.raises(ValidationError, match="dwell must be a duration from 1s to 1h"):
        adapter.validate_python(text)
