"""What loans break off."""

from dataclasses import dataclass

from meltguard.core.units import GpuHours, Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """One work that a loan breaks off."""

    work: str
    hours: GpuHours  # unsaved, expected at the claim
    saved: Instant | None  # its last checkpoint before; None: it never told of one
