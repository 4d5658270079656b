"""YAML that people write: how it is read, and what is wrong in it, in words."""

from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from meltguard.errors import InvalidInput

UNTELLING: Final = frozenset({"missing", "too_short", "rule"})
"""Kinds of error whose value says nothing more: it is not there, or it is the object around it."""

LONGEST_VALUE: Final = 80


def documents(path: Path, wanted: str) -> list[Any]:
    """What a file holds. Raises InvalidInput where it cannot be read; `wanted` says what to give."""
    try:
        return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidInput(f"{path}: cannot be read ({exc}); {wanted}") from exc
    except yaml.YAMLError as exc:
        raise InvalidInput(f"{path}: is no YAML: {' '.join(str(exc).split())}") from exc


def in_words(wrong: ValidationError, fields_are: str) -> str:
    """Every field that is wrong, with its value; `fields_are` says where the right ones are listed."""
    return "; ".join(_field_in_words(error, fields_are) for error in wrong.errors())


def _field_in_words(error: Any, fields_are: str) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "the object"
    if error["type"] == "extra_forbidden":
        return f"{where}: there is no such field; {fields_are}"
    value = repr(error["input"])
    shown = "" if error["type"] in UNTELLING or len(value) > LONGEST_VALUE else f" (got {value})"
    return f"{where}: {str(error['msg']).removeprefix('Value error, ')}{shown}"
