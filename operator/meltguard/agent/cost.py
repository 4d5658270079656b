"""What a request costs, known before it runs: images, size and steps against the reference image."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec

from meltguard.agent.wanted import MAX_SIDE, MAX_STEPS, Wanted, sides, whole
from meltguard.core.units import Units

REFERENCE_PIXELS: Final = 1024 * 1024
REFERENCE_STEPS: Final = 30
MAX_IMAGES: Final = 1_000
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


DEFAULT_COST: Final = Cost()
UNKNOWN_COST: Final = Cost(known=False)


def cost_in_headers(headers: Mapping[str, str]) -> Cost | None:
    """The cost that a trusted gateway named; None where it named none."""
    if not any(name in headers for name in COST_HEADERS):
        return None
    width, height = sides(headers.get(SIZE_HEADER))
    steps = whole(headers.get(STEPS_HEADER), MAX_STEPS)
    return cost_of(Wanted(whole(headers.get(IMAGES_HEADER), MAX_IMAGES), width, height, steps))


def cost_of(wanted: Wanted) -> Cost:
    """The cost of what is asked for; what is not named counts as the default.

    >>> cost_of(Wanted(images=2, width=1024, height=1024)).units
    2.0
    """
    return _priced(
        min(wanted.images, MAX_IMAGES) or DEFAULT_COST.images,
        min(wanted.width, MAX_SIDE) or DEFAULT_COST.width,
        min(wanted.height, MAX_SIDE) or DEFAULT_COST.height,
        min(wanted.steps, MAX_STEPS) or DEFAULT_COST.steps,
    )


@lru_cache(maxsize=MOST_PRICED)
def _priced(images: int, width: int, height: int, steps: int) -> Cost:
    """A size that was asked for lately need not be computed again."""
    return Cost(images, width, height, steps)
