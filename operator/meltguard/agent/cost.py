"""What a request costs, known before it runs: images, size and steps against the reference image."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from meltguard.core.units import Units

REFERENCE_PIXELS: Final = 1024 * 1024
REFERENCE_STEPS: Final = 30
MAX_IMAGES: Final = 1_000
MAX_SIDE: Final = 16_384
MAX_STEPS: Final = 1_000
MOST_PRICED: Final = 1_024
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


class Named(msgspec.Struct):
    """What names a cost; each may be anything."""

    n: Any = None
    size: Any = None
    width: Any = None
    height: Any = None
    steps: Any = None


_PLAIN: Final = msgspec.json.Decoder(Named)  # reads these members and builds nothing of the others
DEFAULT_COST: Final = Cost()
UNKNOWN_COST: Final = Cost(known=False)


def cost_in_headers(headers: Mapping[str, str]) -> Cost | None:
    """The cost that a trusted gateway named; None where it named none."""
    if not any(name in headers for name in COST_HEADERS):
        return None
    return _cost(Named(n=headers.get(IMAGES_HEADER), size=headers.get(SIZE_HEADER), steps=headers.get(STEPS_HEADER)))


def cost_in_body(body: bytes) -> Cost:
    """The cost that a JSON body asks for; what it does not name, or names wrongly, counts as the default.

    >>> cost_in_body(b'{"n": 2, "size": "1024x1024"}').units
    2.0
    """
    try:
        return _cost(_PLAIN.decode(body))
    except (msgspec.DecodeError, RecursionError):
        return _cost(_named_otherwise(body))


def _named_otherwise(body: bytes) -> Named:
    """What names the cost in a body that the quick parser refuses: a server may take UTF-16 or NaN for JSON too."""
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        return Named()
    return Named(**{name: members.get(name) for name in Named.__struct_fields__})


def _cost(named: Named) -> Cost:
    width, height = _size(named.size)
    return _priced(
        _whole(named.n, DEFAULT_COST.images, MAX_IMAGES),
        _whole(named.width, width, MAX_SIDE),
        _whole(named.height, height, MAX_SIDE),
        _whole(named.steps, DEFAULT_COST.steps, MAX_STEPS),
    )


@lru_cache(maxsize=MOST_PRICED)
def _priced(images: int, width: int, height: int, steps: int) -> Cost:
    """A size that was asked for lately need not be computed again."""
    return Cost(images, width, height, steps)


def _size(value: object) -> tuple[int, int]:
    """The sides in `1024x768`."""
    if value is None:
        return DEFAULT_COST.width, DEFAULT_COST.height
    width, _, height = str(value).lower().partition("x")
    return _whole(width, DEFAULT_COST.width, MAX_SIDE), _whole(height, DEFAULT_COST.height, MAX_SIDE)


def _whole(value: object, default: int, most: int) -> int:
    """A whole number from 1 to `most`; the default where there is none."""
    if value is None:
        return default
    if type(value) is int:
        return min(value, most) if value >= 1 else default
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return default
    try:
        number = int(float(value))
    except (ValueError, OverflowError):
        return default
    return min(number, most) if number >= 1 else default
