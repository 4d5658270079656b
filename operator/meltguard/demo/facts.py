"""What a run was, beside what was found of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from meltguard.core.units import Instant, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something that people or accidents did."""

    at: Instant
    name: str  # `ships`, `overrides`, `killed`
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What the run was, beside what was found."""

    surge_at: Instant
    speed: float
    seed: int
    source: str  # of service times, users and shape
    floor: int
    ack_p99: Seconds | None
    files: Mapping[str, str]
    acts: tuple[Mark, ...]

    def act(self, name: str) -> Mark | None:
        """What someone did; None where it did not come to that."""
        return next((mark for mark in self.acts if mark.name == name), None)
