"""What a request costs, known before it runs: images, size and steps against the reference image."""

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from meltguard.core.units import Units

REFERENCE_PIXELS: Final = 1024 * 1024
REFERENCE_STEPS: Final = 30
MAX_IMAGES: Final = 1_000
MAX_SIDE: Final = 16_384
MAX_STEPS: Final = 1_000
LEAST_UNITS: Final = 0.01  # a tiny request still takes a place

IMAGES_HEADER: Final = "x-meltguard-images"
SIZE_HEADER: Final = "x-meltguard-size"
STEPS_HEADER: Final = "x-meltguard-steps"
COST_HEADERS: Final = (IMAGES_HEADER, SIZE_HEADER, STEPS_HEADER)


class Cost(msgspec.Struct, frozen=True):
    """A request's size.

    >>> Cost(images=2, width=512, height=1024, steps=60).units
    2.0
    """

    images: int = 1
    width: int = 1024
    height: int = 1024
    steps: int = REFERENCE_STEPS
    known: bool = True  # else the body was too large to read what it asks for
    units: Units = Units(0.0)  # image units, of the others

    def __post_init__(self) -> None:
        pixels = self.width * self.height / REFERENCE_PIXELS
        units = max(LEAST_UNITS, self.images * pixels * self.steps / REFERENCE_STEPS)
        msgspec.structs.force_setattr(self, "units", Units(units))


DEFAULT_COST: Final = Cost()
UNKNOWN_COST: Final = Cost(known=False)


def cost_in_headers(headers: Mapping[str, str]) -> Cost | None:
    """The cost that a trusted gateway named; None where it named none."""
    if not any(name in headers for name in COST_HEADERS):
        return None
    return _cost(
        {"n": headers.get(IMAGES_HEADER), "size": headers.get(SIZE_HEADER), "steps": headers.get(STEPS_HEADER)}
    )


def cost_in_body(body: bytes) -> Cost:
    """The cost that a JSON body asks for; what it does not name, or names wrongly, counts as the default.

    >>> cost_in_body(b'{"n": 2, "size": "1024x1024"}').units
    2.0
    """
    fields = _decoded(body)
    return _cost(fields) if isinstance(fields, dict) else DEFAULT_COST


def _decoded(body: bytes) -> object:
    """A JSON body; None where it is none.

    The standard parser is asked only about what the quick one refuses: a server may take UTF-16 or NaN for JSON too.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _cost(fields: Mapping[str, Any]) -> Cost:
    width, height = _size(fields.get("size"))
    return Cost(
        images=_whole(fields.get("n"), DEFAULT_COST.images, MAX_IMAGES),
        width=_whole(fields.get("width"), width, MAX_SIDE),
        height=_whole(fields.get("height"), height, MAX_SIDE),
        steps=_whole(fields.get("steps"), DEFAULT_COST.steps, MAX_STEPS),
    )


def _size(value: object) -> tuple[int, int]:
    """The sides in `1024x768`."""
    if value is None:
        return DEFAULT_COST.width, DEFAULT_COST.height
    width, _, height = str(value).lower().partition("x")
    return _whole(width, DEFAULT_COST.width, MAX_SIDE), _whole(height, DEFAULT_COST.height, MAX_SIDE)


def _whole(value: object, default: int, most: int) -> int:
    """A whole number from 1 to `most`; the default where there is none."""
    if type(value) is int:
        return min(value, most) if value >= 1 else default
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return default
    try:
        number = int(float(value))
    except (ValueError, OverflowError):
        return default
    return min(number, most) if number >= 1 else default
