"""The kinds of field that both resources are made of; each knows its bounds and the sentence that refuses."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from meltguard.api.quantities import (
    DURATION,
    INSTANT,
    NUMBER,
    PERCENT,
    RATE,
    SHARE,
    is_written,
    parse_duration,
    parse_instant,
    parse_number,
    parse_percent,
    parse_rate,
    parse_share,
)
from meltguard.api.rules import Checked, Rule

DNS_LABEL: Final = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
LABEL_KEY: Final = "([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LABEL_VALUE: Final = "([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
LIST_TYPE: Final = "x-kubernetes-list-type"
TIME_ZONE: Final = "[A-Z][A-Za-z0-9_+-]{0,31}(/[A-Za-z0-9_+-]{1,31}){0,2}"


def matches(pattern: str, value: str = "self") -> str:
    """CEL: all of the value has this form."""
    return f"{value}.matches('^({pattern})$')"


def text_rule(pattern: str, message: str) -> Rule:
    """The text has this form."""
    return Rule(cel=matches(pattern), holds=lambda text: is_written(pattern, text), message=message)


def text(rule: Rule, longest: int) -> Checked:
    """A text with one rule and a bound on its length."""
    return Checked((rule,), longest)


def name(field: str) -> Checked:
    """A name as Kubernetes objects bear it."""
    message = (
        f"{field} must be at most 63 lower case letters, digits and dashes, beginning and ending with a letter or digit"
    )
    return text(text_rule(DNS_LABEL, message), 63)


def duration(field: str, least: str, most: str) -> Checked:
    """A length of time between two others, both included."""
    low, high = parse_duration(least), parse_duration(most)
    rule = Rule(
        cel=f"{matches(DURATION)} && duration(self) >= duration('{least}') && duration(self) <= duration('{most}')",
        holds=lambda text: low <= parse_duration(text) <= high,
        message=f"{field} must be a duration from {least} to {most}; write it like 30s, 2m or 1h30m",
    )
    return text(rule, 40)


def number(field: str, least: str, most: str, such_as: str) -> Checked:
    """A number in quotes between two others, both included."""
    low, high = parse_number(least), parse_number(most)
    rule = Rule(
        cel=f"{matches(NUMBER)} && double(self) >= {low} && double(self) <= {high}",
        holds=lambda text: low <= parse_number(text) <= high,
        message=f'{field} must be a number from {least} to {most}, in quotes, like "{such_as}"',
    )
    return text(rule, 16)


def rate(field: str, instead: str) -> Checked:
    """Image units over time, more than none; `instead` says how to ask for none."""
    rule = Rule(
        cel=f"{matches(RATE)} && double(self.split('/')[0]) > 0.0",
        holds=lambda text: parse_rate(text) > 0,
        message=f"{field} must be a rate above zero, like 40/m, 2/s or 1000/h; {instead}",
    )
    return text(rule, 16)


def share(field: str) -> Checked:
    """A percentage, two decimals at most."""
    rule = Rule(
        cel=matches(SHARE),
        holds=lambda text: parse_share(text) >= 0,
        message=f"{field} must be a percentage from 0% to 100%, in quotes, like 2% or 2.5%",
    )
    return text(rule, 8)


def percent(field: str) -> Checked:
    """A whole percentage."""
    rule = Rule(
        cel=matches(PERCENT),
        holds=lambda text: parse_percent(text) >= 0,
        message=f"{field} must be a whole percentage from 0% to 100%, in quotes, like 50%",
    )
    return text(rule, 8)


def instant(field: str) -> Checked:
    """A moment with its time zone."""
    rule = Rule(
        cel=f"{matches(INSTANT)} && timestamp(self) > timestamp('1970-01-01T00:00:00Z')",
        holds=lambda text: parse_instant(text) > 0,
        message=f"{field} must be a date and time with its zone, like 2026-12-01T18:00:00Z",
    )
    return text(rule, 40)


def time_zone(field: str) -> Checked:
    """An IANA time zone. The API server looks it up; offline only its form is checked."""
    rule = Rule(
        cel=f"{matches(TIME_ZONE)} && timestamp('2026-01-01T00:00:00Z').getFullYear(self) > 0",
        holds=lambda text: is_written(TIME_ZONE, text),
        message=f"{field} must be the IANA name of a time zone, like UTC or Europe/Zurich",
    )
    return text(rule, 96)


def label_key(field: str) -> Checked:
    """A label's or taint's key."""
    message = f"{field} must be a valid label key, like workload or example.com/team"
    return text(text_rule(LABEL_KEY, message), 317)


def label_value(field: str) -> Checked:
    """A label's or taint's value."""
    message = f"{field} must be a valid label value of at most 63 letters, digits, dashes, dots and underscores"
    return text(text_rule(LABEL_VALUE, message), 63)


def labels(field: str) -> Checked:
    """A map of label keys to label values."""
    rule = Rule(
        cel=f"self.all(key, {matches(LABEL_KEY, 'key')} && {matches(LABEL_VALUE, 'self[key]')})",
        holds=lambda pairs: all(is_written(LABEL_KEY, k) and is_written(LABEL_VALUE, v) for k, v in pairs.items()),
        message=f"{field} must hold valid label keys and values, like workload: research or example.com/team: images",
    )
    return Checked((rule,))


LabelText = Annotated[str, Field(max_length=63)]
"""A label's value."""


def _refuse_twice(what: str, keys: Sequence[str]) -> None:
    twice = sorted(key for key in set(keys) if keys.count(key) > 1)
    if twice:
        raise PydanticCustomError("twice", "{message}", {"message": f"{what} {twice[0]!r} is there twice: remove one"})


class ListMap:
    """A list whose items have a name: server-side apply merges it item by item."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), LIST_TYPE: "map", "x-kubernetes-list-map-keys": [self.key]}

    def _check(self, items: tuple[BaseModel, ...]) -> tuple[BaseModel, ...]:
        _refuse_twice(self.key, [str(getattr(item, self.key)) for item in items])
        return items


class ListSet:
    """A list of texts without duplicates: server-side apply merges it text by text."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), LIST_TYPE: "set"}

    def _check(self, items: tuple[str, ...]) -> tuple[str, ...]:
        _refuse_twice("item", items)
        return items


ATOMIC: Final = Field(json_schema_extra={LIST_TYPE: "atomic"})
"""A list that has one owner: server-side apply replaces it whole."""


class Clipped:
    """Cuts what is too long instead of refusing it: a long explanation must never stop a status write."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._clip, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler(schema)
        bound = {"string": "maxLength", "array": "maxItems", "object": "maxProperties"}[described["type"]]
        return {**described, bound: self.most}

    def _clip(self, value: Any) -> Any:
        if isinstance(value, str):
            line = " ".join(value.split())
            return line if len(line) <= self.most else f"{line[: self.most - 3]}..."
        return value[: self.most] if isinstance(value, (list, tuple)) else value


Moment = Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})]
"""A moment that we write, RFC 3339."""
