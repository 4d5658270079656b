"""A mistake in an object, and how it must be refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

NAME: Final = "at most 63 lower case letters, digits and dashes"


@dataclass(frozen=True, slots=True)
class Bad:
    """One mistake in an otherwise sound object."""

    at: str  # the field that the refusal names; "" is the object itself
    said: str  # part of its text
    edits: Mapping[str, Any]
    native: bool = False  # said in Kubernetes' own words; offline, pydantic has others
    online_only: bool = False  # only the API server can tell
