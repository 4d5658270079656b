"""Samples of platform metrics, with the age of each."""

from dataclasses import dataclass
from typing import Final

from meltguard.core.policy import SignalKind
from meltguard.core.units import NodeName, Seconds

POSSIBLE: Final = {
    SignalKind.GPU_TEMPERATURE: (1.0, 150.0),
    SignalKind.GPU_UTILIZATION: (0.0, 100.0),
    SignalKind.GPU_POWER: (1.0, 5000.0),
}
"""What a GPU's sensors can say, in C, percent and W: 0 C, 255 C and 0 W are sensors that do not answer."""


def is_possible(kind: SignalKind, value: float) -> bool:
    """Whether a sound sensor could say this.

    >>> [is_possible(SignalKind.GPU_TEMPERATURE, value) for value in (0.0, 95.0, 255.0)]
    [False, True, False]
    """
    least, most = POSSIBLE.get(kind, (value, value))
    return least <= value <= most


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSample:
    """One series' last sample."""

    node: NodeName | None  # None where no label names one
    value: float
    age: Seconds  # since it was measured, not since it was read
    model: str = ""  # of the GPU, as its exporter names it; "" where it does not


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricAnswer:
    """All samples of one query. Nothing found is an empty tuple, never a zero."""

    samples: tuple[MetricSample, ...]
    problem: str = ""  # why it is not to be trusted; "" where all is well
