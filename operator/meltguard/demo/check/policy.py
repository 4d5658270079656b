"""What the operator told the API server about a policy, write by write."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from meltguard.api.quantities import RATE, is_written, parse_rate
from meltguard.core.units import Instant
from meltguard.demo.check.audit import Write


class Limit(msgspec.Struct, frozen=True):
    """One tier's limit in a status."""

    tier: str
    state: str = "Open"
    rate: str = "none"


class Status(msgspec.Struct, frozen=True):
    """Part of a policy's status."""

    level: str = ""
    limits: tuple[Limit, ...] = ()


class PolicyObject(msgspec.Struct, frozen=True):
    """Part of a policy."""

    status: Status = Status()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One status that was written."""

    at: Instant
    level: str
    limits: tuple[Limit, ...]

    def limit(self, tier: str) -> Limit:
        """A tier's limit; open where the status names none."""
        return next((limit for limit in self.limits if limit.tier == tier), Limit(tier=tier))


def told(writes: Iterable[Write], policy: str) -> tuple[Told, ...]:
    """Every status of the policy that the API server took, in order."""
    return tuple(
        Told(at=write.at, level=status.level, limits=status.limits)
        for write in writes
        if write.about("imageservicepolicies", "status") and write.ref.name == policy and write.accepted and write.after
        for status in [msgspec.json.decode(write.after, type=PolicyObject).status]
    )


def rates(statuses: Iterable[Told], tier: str) -> tuple[tuple[Instant, float], ...]:
    """A tier's limit over time, in units a second, while there was one."""
    return tuple(
        (status.at, parse_rate(limit.rate))
        for status in statuses
        for limit in [status.limit(tier)]
        if is_written(RATE, limit.rate)
    )
