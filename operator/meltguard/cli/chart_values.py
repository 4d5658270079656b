"""The chart's values.yaml as documentation: its comments become the schema's descriptions and the README's table."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from meltguard.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One key of values.yaml with the comment above it."""

    path: tuple[str, ...]
    comment: str
    default: object
    section: bool  # its keys have comments of their own

    @property
    def name(self) -> str:
        """As `--set` takes it."""
        return ".".join(self.path)


def read_values(text: str) -> list[Value]:
    """Every documented key, sections before their keys.

    Raises:
        InvalidInput: a key has no comment right above it; the text names it.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise InvalidInput("values.yaml holds no mapping")
    return list(_walk(root, (), text.splitlines()))


def values_table(values: Sequence[Value]) -> str:
    """The keys that can be set, as a Markdown table."""
    rows = [
        f"| `{value.name}` | {_code(value.default)} | {_cell(value.comment)} |" for value in values if not value.section
    ]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows])


def described_schema(schema_text: str, values: Sequence[Value]) -> str:
    """The JSON schema with every comment of values.yaml as the description of its key.

    Raises:
        InvalidInput: the schema lacks a key of values.yaml, or leaves one of its own undescribed.
    """
    schema = json.loads(schema_text)
    for value in values:
        place = schema
        for part in value.path:
            place = place.get("properties", {}).get(part)
            if place is None:
                raise InvalidInput(f"values.schema.json has no {value.name}: write its type there")
        place["description"] = value.comment
    if bare := list(_undescribed(schema, ())):
        raise InvalidInput(f"undescribed in values.schema.json: {', '.join(bare)}; comment them in values.yaml")
    return json.dumps(schema, indent=2) + "\n"


def _walk(node: yaml.MappingNode, path: tuple[str, ...], lines: Sequence[str]) -> Iterator[Value]:
    loader = yaml.SafeLoader("")
    for key, child in node.value:
        here = (*path, str(key.value))
        comment = _comment_above(key.start_mark.line, lines)
        if not comment:
            raise InvalidInput(f"values.yaml line {key.start_mark.line + 1}: {'.'.join(here)} has no comment above it")
        section = isinstance(child, yaml.MappingNode) and _is_documented(child, lines)
        yield Value(path=here, comment=comment, default=loader.construct_object(child, deep=True), section=section)
        if section:
            yield from _walk(child, here, lines)


def _is_documented(node: yaml.MappingNode, lines: Sequence[str]) -> bool:
    """A mapping in braces is a value: what stands above its line belongs to its own key."""
    return not node.flow_style and any(_comment_above(key.start_mark.line, lines) for key, _ in node.value)


def _comment_above(line: int, lines: Sequence[str]) -> str:
    """The comment right above a line, joined to one; empty where there is none."""
    found: list[str] = []
    for text in reversed(lines[:line]):
        if not text.lstrip().startswith("#"):
            break
        found.insert(0, text.lstrip().removeprefix("#").strip())
    return " ".join(found)


def _undescribed(schema: dict[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    for name, child in schema.get("properties", {}).items():
        if not child.get("description"):
            yield ".".join((*path, name))
        yield from _undescribed(child, (*path, name))
    for nested in (schema.get("additionalProperties"), schema.get("items")):
        if isinstance(nested, dict):
            yield from _undescribed(nested, (*path, "*"))


def _code(default: object) -> str:
    return f"`{_cell(json.dumps(default))}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
