"""Samples of platform metrics, with the age of each."""

from dataclasses import dataclass

from meltguard.core.units import NodeName, Seconds


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
