"""The shared store of daily allowances, in the agent's words.

A tier's day runs from its first use up to the end of the calendar day, on the store's own clock, and has an id. The id
is how a lost store is noticed: an agent that has seen this day says so with each claim, and a store that does not know
it has forgotten what was spent. It then grants nothing until the day ends.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from meltguard.core.quota import Claim, Day
from meltguard.core.units import Instant


class Outcome(StrEnum):
    """A store's answer to a claim: an account's verdict, or why no account was asked."""

    GRANTED = "granted"
    EXHAUSTED = "exhausted"
    IN_PROGRESS = "in-progress"
    DELIVERED = "delivered"
    WRONG_DAY = "wrong-day"  # the day offered is not the store's: compute it from the store's time
    LOST = "lost"  # the store forgot this day


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountKey:
    """Whose allowance."""

    policy: str  # namespace/name: a policy applied anew grants nothing twice
    tier: str
    user: str  # a hash


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySeen:
    """A tier's day in the store."""

    id: str
    end: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class DayClaim:
    """A claim on an account, and what the agent knows of the day."""

    account: AccountKey
    claim: Claim
    day: Day  # begins in the store if none runs there
    new_id: str  # its id then
    seen: DaySeen | None  # the day that this agent has seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """The store's answer."""

    outcome: Outcome
    used: int  # images of the account, this claim included where granted
    now: Instant  # the store's clock
    day: DaySeen | None  # the running day; None where there is none


class Ending(StrEnum):
    """How a reservation ends."""

    COMMIT = "commit"
    RELEASE = "release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The end of one reservation. Safe to repeat."""

    account: AccountKey
    day: str  # id; a settlement of another day changes nothing
    request: str
    images: int
    ending: Ending


class QuotaStore(Protocol):
    """Keeps accounts for all pods. Each call is one atomic step."""

    async def reserve(self, claim: DayClaim) -> Reserved:
        """Set images aside.

        Raises:
            Unavailable: no answer in time; the images may or may not be set aside.
        """
        ...

    async def settle(self, settlement: Settlement) -> None:
        """Commit or release. Raises as `reserve`."""
        ...

    async def ping(self) -> None:
        """Whether it answers and may be written to. Raises as `reserve`."""
        ...


def hashed(*parts: str) -> str:
    """A fixed-length name for what people chose.

    >>> len(hashed("user", "a" * 300))
    32
    """
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
