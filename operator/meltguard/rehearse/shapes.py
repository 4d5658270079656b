"""Surges that ship with the package, by name; each is a shape, scaled to the service that meets it."""

from collections.abc import Mapping
from typing import Final

from meltguard.core.units import Instant, Seconds, Share
from meltguard.errors import InvalidInput
from meltguard.rehearse.surge import Recorded
from meltguard.rehearse.users import recorded
from meltguard.sim.spread import Envelope

DAY: Final = "day"
MIDNIGHT: Final = Instant(1_772_409_600.0)
"""2026-03-02T00:00:00Z, a Monday: when the day begins."""

STEP: Final = Seconds(60.0)
"""Between two rates of a shape."""

SHAPES: Final[Mapping[str, tuple[str, Envelope, Seconds]]] = {
    "flash-crowd": (
        "the flash crowd of a World Cup match in 1998, fitted to its record",
        recorded().envelope,
        Seconds(14_100.0),
    ),
    "step": (
        "a quarter of the peak, the whole of it for an hour, a quarter again",
        Envelope((0.0, 0.1999, 0.2, 0.5999, 0.6, 1.0), (0.25, 0.25, 1.0, 1.0, 0.25, 0.25)),
        Seconds(9_000.0),
    ),
    "viral": (
        "a post that goes viral within five minutes and is forgotten in two hours",
        Envelope((0.0, 0.15, 0.17, 0.22, 0.4, 0.6, 1.0), (0.1, 0.1, 0.6, 1.0, 0.45, 0.18, 0.1)),
        Seconds(14_400.0),
    ),
    DAY: (
        "a day from midnight to midnight, busiest in the evening",
        Envelope(
            (0.0, 0.08, 0.2, 0.3, 0.42, 0.5, 0.6, 0.72, 0.83, 0.92, 1.0),
            (0.45, 0.25, 0.12, 0.22, 0.5, 0.6, 0.55, 0.7, 1.0, 0.7, 0.45),
        ),
        Seconds(86_400.0),
    ),
}
"""What each is in words, its rates as shares of the peak, and its length."""


def read_shape(name: str) -> Recorded:
    """A shape whose peak is one request a second. Raises InvalidInput where there is none of this name."""
    if name not in SHAPES:
        raise InvalidInput(f"--surge {name}: is neither a file nor a shape; shapes are {', '.join(SHAPES)}")
    words, envelope, length = SHAPES[name]
    count = int(length / STEP)
    return Recorded(
        source=f"shape {name}: {words}",
        times=tuple(Seconds(number * STEP) for number in range(count)),
        rates={"": tuple(float(envelope.at(Share(number / count))) for number in range(count))},
        until=length,
        dawn=MIDNIGHT if name == DAY else None,
    )
