"""What the operator told the API server about a policy, write by write."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import nan

import msgspec

from meltguard.api.quantities import RATE, is_written, parse_rate
from meltguard.core.units import Instant
from meltguard.demo.check.audit import Write


class Limit(msgspec.Struct, frozen=True):
    """One tier's limit in a status."""

    tier: str
    state: str = "Open"
    rate: str = "none"
    demand: str = ""


class Share(msgspec.Struct, frozen=True):
    """A feature's share of users in a status."""

    name: str
    rollout: str = "100%"
    cause: str = ""


class Updates(msgspec.Struct, frozen=True):
    """What a status says of updates."""

    state: str = "Free"


class Word(msgspec.Struct, frozen=True):
    """A person's word in a status."""

    sets: str = ""


class Entry(msgspec.Struct, frozen=True):
    """One thing that changed, as a status remembers it."""

    at: str
    reason: str
    text: str


class Rule(msgspec.Struct, frozen=True):
    """One rule's answer."""

    rule: str
    holds: bool = False
    text: str = ""


class Decision(msgspec.Struct, frozen=True):
    """What a status says of the last decision."""

    demand: str = ""
    capacity: str = ""
    rules: tuple[Rule, ...] = ()


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """Part of a policy's status."""

    level: str = ""
    pressure: str = ""
    why: str = ""
    epoch: int = 0
    loan_count: int = 0
    limits: tuple[Limit, ...] = ()
    features: tuple[Share, ...] = ()
    rollouts: Updates = Updates()
    overrides: tuple[Word, ...] = ()
    decision: Decision = Decision()
    history: tuple[Entry, ...] = ()


class PolicyObject(msgspec.Struct, frozen=True):
    """Part of a policy."""

    status: Status = Status()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One status that was written."""

    at: Instant
    status: Status

    @property
    def slowed(self) -> bool:
        """Whether some feature has fewer users than usual."""
        return any(feature.cause for feature in self.status.features)

    def limit(self, tier: str) -> Limit:
        """A tier's limit; open where the status names none."""
        return next((limit for limit in self.status.limits if limit.tier == tier), Limit(tier=tier))


def told(writes: Iterable[Write], policy: str) -> tuple[Told, ...]:
    """Every status of the policy that the API server took, in order."""
    return tuple(
        Told(at=write.at, status=status)
        for write in writes
        if write.about("imageservicepolicies", "status") and write.ref.name == policy and write.accepted and write.after
        for status in [msgspec.json.decode(write.after, type=PolicyObject).status]
    )


def a_minute(text: str) -> float:
    """A written rate in image units a minute; not a number where none is written.

    >>> a_minute("2/s"), a_minute("none")
    (120.0, nan)
    """
    return parse_rate(text) * 60.0 if is_written(RATE, text) else 0.0 if text.startswith("0") else nan


def first(statuses: Iterable[Told], holds: Callable[[Told], bool], after: Instant | None = None) -> Instant | None:
    """When a status first said so, and not before `after`; None where none did."""
    return next((one.at for one in statuses if (after is None or one.at >= after) and holds(one)), None)


def rates(statuses: Iterable[Told], tier: str) -> tuple[tuple[Instant, float], ...]:
    """A tier's limit over time, in units a second, while there was one."""
    return tuple(
        (status.at, parse_rate(limit.rate))
        for status in statuses
        for limit in [status.limit(tier)]
        if is_written(RATE, limit.rate)
    )
