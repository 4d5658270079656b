"""The shared store of allowances, in the agent's words.

A tier's span (day, week or month) runs from its first use up to the end of the calendar period, on the store's own
clock, and has an id. The id is how a lost store is noticed: an agent that has seen this span says so with each claim,
and a store that does not know it has forgotten what was spent. It then grants nothing until the span ends.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from meltguard.api.store_state import StoreState
from meltguard.core.quota import Claim, Period, Span
from meltguard.core.units import Instant
from meltguard.errors import Unavailable


class Outcome(StrEnum):
    """A store's answer to a claim: an account's verdict, or why no account was asked."""

    GRANTED = "granted"
    EXHAUSTED = "exhausted"
    IN_PROGRESS = "in-progress"
    DELIVERED = "delivered"
    WRONG_SPAN = "wrong-span"  # the span offered is not the store's: compute it from the store's time
    LOST = "lost"  # the store forgot this span
    BEHIND = "behind"  # the store knows fewer of its writes than the agent has heard of


class StoreTrouble(Unavailable):
    """The store did not do what it was asked."""

    def __init__(self, what: str, state: StoreState) -> None:
        super().__init__(what)
        self.state = state


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountKey:
    """Whose allowance."""

    policy: str  # namespace/name: a policy applied anew grants nothing twice
    tier: str
    user: str  # a hash
    period: Period = Period.DAY

    @property
    def book(self) -> str:
        """What spans are kept by: a tier whose period is changed begins another book.

        >>> AccountKey(policy="serving/image-gen", tier="plus", user="ann", period=Period.WEEK).book
        'plus/week'
        """
        return self.tier if self.period is Period.DAY else f"{self.tier}/{self.period}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanSeen:
    """A tier's span in the store."""

    id: str
    end: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanClaim:
    """A claim on an account, and what the agent knows of the span."""

    account: AccountKey
    claim: Claim
    span: Span  # begins in the store if none runs there
    new_id: str  # its id then
    seen: SpanSeen | None  # the span that this agent has seen
    writes: int = 0  # how many writes of that span it has heard of


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """The store's answer."""

    outcome: Outcome
    used: int  # images of the account, this claim included where granted
    now: Instant  # the store's clock
    span: SpanSeen | None  # the running span; None where there is none
    held: int = 0  # those of `used` that are set aside and not delivered
    writes: int = 0  # of the running span, so far
    requests: Mapping[str, Outcome] | None = None  # with EXHAUSTED: the account's requests; None where they are many


class Ending(StrEnum):
    """How a reservation ends."""

    COMMIT = "commit"
    RELEASE = "release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The end of one reservation. Safe to repeat."""

    account: AccountKey
    span: str  # id; a settlement of another span changes nothing
    request: str
    images: int  # delivered; what was reserved beyond them is given back
    ending: Ending
    attempt: str = ""  # the claim's; a release of another changes nothing


class QuotaStore(Protocol):
    """Keeps accounts for all pods. Each call is one atomic step."""

    async def reserve(self, claim: SpanClaim) -> Reserved:
        """Set images aside.

        Raises:
            StoreTrouble: no answer in time, or a refusal; without an answer the images may be set aside.
        """
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> Mapping[str, int]:
        """Commit or release some of one policy, in their order; the spans' writes after that, by book.

        Raises as `reserve`.
        """
        ...

    async def probe(self, policy: str) -> None:
        """Whether it would do for a policy what `reserve` asks. Raises as `reserve`."""
        ...


def hashed(*parts: str) -> str:
    """A fixed-length name for what people chose.

    >>> len(hashed("user", "a" * 300))
    32
    """
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
