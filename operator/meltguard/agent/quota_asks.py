"""What is asked of the quota desk, and what it answers."""

from dataclasses import dataclass

from meltguard.agent.quota_allowance import Allowance
from meltguard.agent.quota_store import Settlement
from meltguard.agent.refusal import Reason
from meltguard.api.limit_document import QuotaRule
from meltguard.core.units import Instant, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaAsk:
    """One request's claim on its user's allowance."""

    tier: str
    user: str
    key: str | None  # idempotency key
    images: int
    rule: QuotaRule
    hold_for: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Images set aside; settle it when the request has ended."""

    settlement: Settlement  # a release; a commit is the same with another ending
    allowance: Allowance | None  # None: nobody could be asked what is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """No images."""

    reason: Reason
    wait: Seconds | None = None
    reset: Instant | None = None
    allowance: Allowance | None = None
