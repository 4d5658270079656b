"""Why a request is turned away, and the answer that says so (RFC 9457 problem details, Retry-After)."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Final

from meltguard.agent.asgi import Answer
from meltguard.agent.fields import MAXIMUM
from meltguard.agent.quota_allowance import POLICY_NAMES
from meltguard.clock import rfc3339
from meltguard.core.quota import Period
from meltguard.core.units import Instant, Seconds, Share, TierName

PROBLEM_TYPES: Final = "https://iana.org/assignments/http-problem-types#"
LONGEST_RETRY: Final = Seconds(30.0)
LONGEST_KNOWN: Final = Seconds(300.0)  # where it is known when a limit ends: a person may end it before
LONGEST_SPREAD: Final = Seconds(60.0)  # after an exact reset
JITTER: Final = 0.25  # share of the wait that is added at most, so that the refused do not return together


class Reason(StrEnum):
    """Why one request was turned away."""

    TIER_SUSPENDED = "tier-suspended"
    OWN_MAXIMUM = "own-maximum"  # the tier's own maximum, whatever the load
    DAILY_QUOTA = "daily-quota"  # the user's own allowance
    WEEKLY_QUOTA = "weekly-quota"
    MONTHLY_QUOTA = "monthly-quota"
    QUOTA_STORE = "quota-store-unavailable"  # an allowance cannot be counted now
    DUPLICATE = "duplicate-request"  # the same idempotency key runs now, or was delivered
    COST_UNKNOWN = "cost-unknown"  # the body is too large to read what it costs
    FEATURE_SLOWED = "feature-slowed"  # fewer users have the feature while demand is high
    OVER_RATE = "over-rate"  # the tier's temporary limit
    QUEUE_FULL = "queue-full"
    GAVE_WAY = "gave-way"  # users with fewer waiting came to a full line
    WAIT_TOO_LONG = "wait-too-long"  # it would wait in vain
    WAITED_OUT = "waited-out"  # it waited as long as the policy lets it
    STOPPING = "agent-stopping"
    CLIENT_GONE = "client-gone"  # the client left while waiting; nobody reads the answer


FOR_CAPACITY: Final = frozenset(
    {
        Reason.TIER_SUSPENDED,
        Reason.OVER_RATE,
        Reason.QUEUE_FULL,
        Reason.GAVE_WAY,
        Reason.WAIT_TOO_LONG,
        Reason.WAITED_OUT,
    }
)
"""Reasons that are a lack of GPUs: what limits the tier explains them. A user's own allowance or mistake is none."""

THIS_POD_S_LINE: Final = frozenset({Reason.QUEUE_FULL, Reason.GAVE_WAY, Reason.WAIT_TOO_LONG, Reason.WAITED_OUT})
"""Reasons that are this pod's own line, which another pod need not have."""

NO_DEMAND: Final = frozenset(
    {
        Reason.OWN_MAXIMUM,
        Reason.DAILY_QUOTA,
        Reason.WEEKLY_QUOTA,
        Reason.MONTHLY_QUOTA,
        Reason.DUPLICATE,
        Reason.COST_UNKNOWN,
        Reason.STOPPING,
    }
)
"""Reasons that more GPUs would not mend: nobody's work is broken off for those. A stopping pod's requests come again
elsewhere. While a store cannot count, what it holds back is demand: it comes as soon as the store answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """How a reason is told."""

    detail: str
    kind: str = "temporary-reduced-capacity"  # problem type; "" is about:blank
    status: int | None = None  # None: as the policy's shedStatus says


ELSEWHERE: Final = "x-meltguard-elsewhere"
"""The header that tells whoever divides requests over pods to ask another one at once (docs/balancing.md)."""

QUOTA_EXCEEDED: Final = "quota-exceeded"
WORDINGS: Final[Mapping[Reason, Wording]] = {
    Reason.TIER_SUSPENDED: Wording(detail="this tier is suspended while demand is high"),
    Reason.OWN_MAXIMUM: Wording(detail="this tier's own maximum is reached", kind=QUOTA_EXCEEDED, status=429),
    Reason.DAILY_QUOTA: Wording(detail="the images of this day are used up", kind=QUOTA_EXCEEDED, status=429),
    Reason.WEEKLY_QUOTA: Wording(detail="the images of this week are used up", kind=QUOTA_EXCEEDED, status=429),
    Reason.MONTHLY_QUOTA: Wording(detail="the images of this month are used up", kind=QUOTA_EXCEEDED, status=429),
    Reason.QUOTA_STORE: Wording(detail="the allowance cannot be counted at the moment", status=503),
    Reason.DUPLICATE: Wording(
        detail="a request with this Idempotency-Key is running or was delivered; use a new key for a new image",
        kind="",
        status=409,
    ),
    Reason.COST_UNKNOWN: Wording(
        detail="the body is too large to see how many images it asks for; send a smaller one", kind="", status=413
    ),
    Reason.FEATURE_SLOWED: Wording(
        detail="this feature is open to fewer users while demand is high; ask without it, or later", status=503
    ),
    Reason.OVER_RATE: Wording(detail="this tier is limited while demand is high"),
    Reason.QUEUE_FULL: Wording(detail="as many requests of this tier wait as may"),
    Reason.GAVE_WAY: Wording(
        detail="the line is full and others want in: of the user with most requests waiting the newest gives way"
    ),
    Reason.WAIT_TOO_LONG: Wording(detail="the wait would be longer than this tier's requests may wait"),
    Reason.WAITED_OUT: Wording(detail="no GPU came free within the time that this tier's requests may wait"),
    Reason.STOPPING: Wording(detail="this server is stopping; another one will answer", status=503),
    Reason.CLIENT_GONE: Wording(detail="the client left", kind="", status=499),
}


EXHAUSTED_BY: Final[Mapping[Period, Reason]] = {
    Period.DAY: Reason.DAILY_QUOTA,
    Period.WEEK: Reason.WEEKLY_QUOTA,
    Period.MONTH: Reason.MONTHLY_QUOTA,
}
VIOLATED: Final[Mapping[Reason, list[str]]] = {
    Reason.OWN_MAXIMUM: [MAXIMUM],
    **{reason: [POLICY_NAMES[period]] for period, reason in EXHAUSTED_BY.items()},
}
SHUT: Final = frozenset({Reason.TIER_SUSPENDED, Reason.FEATURE_SLOWED})
"""What lets nobody in before it ends: of what is only limited, a place may come free at any time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One request turned away."""

    reason: Reason
    tier: TierName
    status: int
    wait: Seconds | None  # estimate until it may pass; None where nobody knows
    reset: Instant | None = None  # when an allowance starts anew: exact
    detail: str = ""  # what happened, where there is more to say than of every refusal of this kind
    message: str = ""  # the policy's words
    why: str = ""
    since: Instant | None = None
    lifts_when: str = ""
    until: Instant | None = None  # when the limit ends, if not before; None: nobody knows
    elsewhere: bool = False  # nothing but this pod's own line is in the way: another pod may take it
    headers: Mapping[str, str] = field(default_factory=dict)

    def facts(self) -> dict[str, object]:
        """What may be written down of it."""
        return {"tier": self.tier, "reason": self.reason.value}


def status_of(reason: Reason, shed_status: int) -> int:
    """The HTTP status of a refusal in a tier whose policy sheds with `shed_status`."""
    return WORDINGS[reason].status or shed_status


def retry_after(refusal: Refusal, now: Instant, luck: Share) -> int | None:
    """Whole seconds after which to try again; None where trying again is useless.

    Never before an exact reset, nor before a known end that is near. All are spread by `luck` (0 to 1); an estimate is
    capped.
    """
    if refusal.reset is not None:
        left = max(0.0, refusal.reset - now)
        return max(1, math.ceil(left + min(JITTER * left, LONGEST_SPREAD) * luck))
    if refusal.reason is Reason.COST_UNKNOWN:
        return None
    return math.ceil(_wait(refusal, now) * (1 + JITTER * luck))


def _wait(refusal: Refusal, now: Instant) -> float:
    if refusal.reason in SHUT and refusal.until is not None and refusal.until > now:
        return min(max(refusal.until - now, 1.0), LONGEST_KNOWN)
    return min(max(refusal.wait if refusal.wait is not None else LONGEST_RETRY, 1.0), LONGEST_RETRY)


def answer(refusal: Refusal, now: Instant, luck: Share) -> Answer:
    """The answer to a refused request."""
    wording = WORDINGS[refusal.reason]
    seconds = retry_after(refusal, now, luck)
    headers = dict(refusal.headers)
    if seconds is not None:
        headers["retry-after"] = str(seconds)
    if refusal.elsewhere:
        headers[ELSEWHERE] = "1"
    return Answer(
        status=refusal.status,
        body=json.dumps(_members(refusal, wording, seconds)).encode(),
        content_type="application/problem+json",
        headers=headers,
    )


def _phrase(status: int) -> str:
    """A status in words; 499 has none of the standard's."""
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else "Client Closed Request"


def _members(refusal: Refusal, wording: Wording, seconds: int | None) -> dict[str, object]:
    members: dict[str, object | None] = {
        "type": PROBLEM_TYPES + wording.kind if wording.kind else "about:blank",
        "title": wording.kind.replace("-", " ").capitalize() if wording.kind else _phrase(refusal.status),
        "status": refusal.status,
        "detail": refusal.detail or wording.detail,
        "reason": refusal.reason.value,
        "tier": refusal.tier,
        "message": refusal.message or None,
        "why": refusal.why or None,
        "since": rfc3339(refusal.since) if refusal.since is not None else None,
        "until": rfc3339(end) if (end := refusal.reset or refusal.until) is not None else None,
        "liftsWhen": refusal.lifts_when or None,
        "retryAfter": seconds,
        "violated-policies": VIOLATED.get(refusal.reason),
    }
    return {name: value for name, value in members.items() if value is not None}
