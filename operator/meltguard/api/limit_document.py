"""The documents that an agent obeys: what one pod may admit now (lease) and what holds without one (baseline).

Both are JSON texts signed as they stand (see `meltguard.api.signed`). Times on the wire are seconds.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from meltguard.api.wire import MessageModel
from meltguard.core.quota import Period, WhenUncounted

LEASE_TTL_SECONDS = 120.0
"""A lease lives this long on the agent's monotonic clock, counted from receipt."""

MAX_DOCUMENT_BYTES = 65_536
"""A signed document that is larger is refused unread."""

NonNegative = Annotated[float, Field(ge=0, le=1e9)]


class DocumentKind(StrEnum):
    """What a document asks of the agent."""

    ENFORCE = "Enforce"  # admit at most this, until the ttl ends
    OBSERVE = "Observe"  # shadow: count what would be refused, refuse nothing
    RELEASED = "Released"  # the policy is gone: forget every document and guard only your own GPU
    BASELINE = "Baseline"  # no ttl: the tiers' maxima, quotas and safe limits


class TierState(StrEnum):
    """What happens to a tier's requests."""

    OPEN = "Open"  # no rate
    DELAY = "Delay"  # what is over the rate waits up to maxWait, then is refused
    REJECT = "Reject"  # what is over the rate is refused at once
    SUSPEND = "Suspend"  # all are refused


class PolicyRef(MessageModel):
    """The policy that a document speaks for."""

    namespace: str
    name: str
    uid: str


class QuotaRule(MessageModel):
    """A user's exact allowance per calendar period."""

    images: Annotated[int, Field(ge=0, le=1_000_000)]
    """Images a user may have in one period."""
    per: Period = Period.DAY
    """The period; documents of older operators name none."""
    time_zone: str = "UTC"
    """IANA name of the zone whose midnight starts the period."""
    when_uncounted: WhenUncounted = WhenUncounted.REFUSE
    """What holds while the store is away or forgot; documents of older operators name nothing."""


class TierLimit(MessageModel):
    """What this pod may admit of one tier."""

    name: str
    priority: int = 0
    """Higher goes first in the pod's queue."""
    state: TierState = TierState.OPEN
    rate: NonNegative | None = None
    """Image units a second for this pod; None is no rate."""
    burst: NonNegative = 1.0
    """Image units that may be admitted at once after a quiet time."""
    concurrency: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Requests of this tier in the pod's GPU at once; None is the pod's own cap."""
    queue: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Requests of this tier that may wait here; more are refused at once."""
    max_wait: NonNegative = 0.0
    """Seconds that a request may wait before it is refused."""
    shed_status: Annotated[int, Field(ge=400, le=599)] = 503
    """HTTP status of a refusal for lack of capacity: 503, or 429 where the policy says so."""
    max_rate: NonNegative | None = None
    """This pod's share of the tier's own maximum; over it is 429 quota-exceeded."""
    quota: QuotaRule | None = None
    message: str = ""
    """The policy's words to the refused."""
    why: str = ""
    """Why this limit holds, in the words of the policy's status; empty where there is none."""
    since: float | None = None
    """When the limit began: seconds since the epoch."""
    floor: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Share of what this pod's GPUs take from the line that the tier is kept, whoever else waits."""
    lifts_when: str = ""
    """What must come about for it to lift; empty where there is none."""
    until: float | None = None
    """When it ends, if not before: seconds since the epoch. None where nobody knows."""
    safe_rate: NonNegative | None = None
    """Baseline only: image units a second that this pod may admit when no lease lives."""


class SlowedFeature(MessageModel):
    """Why fewer users have a feature than usual."""

    share: Annotated[int, Field(ge=0, le=100)]
    """The percentage of users who have it."""
    cause: str
    """Why fewer have it, in the words of the policy's status."""
    since: float | None = None
    """Since when: seconds since the epoch."""
    lifts_when: str = ""
    """What must come about for more to have it."""
    until: float | None = None
    """When it ends, if not before: seconds since the epoch. None where nobody knows."""


class LimitDocument(MessageModel):
    """What one pod (lease) or every pod of a service (baseline) may admit."""

    version: Annotated[int, Field(ge=1, le=1)] = 1
    kind: DocumentKind
    policy: PolicyRef
    pod_uid: str = ""
    """The pod that a lease is for; empty in a baseline."""
    epoch: Annotated[int, Field(ge=0)] = 0
    revision: Annotated[int, Field(ge=0)] = 0
    """(epoch, revision) only grows; the agent refuses a lower one."""
    issued_at: float
    """Seconds since the epoch; guards against replay, never counts the ttl."""
    ttl: NonNegative | None = None
    """Seconds from receipt; None never ends (baseline)."""
    level: str = "Normal"
    why: str = ""
    lifts_when: str = ""
    """What must come about for a milder level."""
    pods: Annotated[int, Field(ge=1)] = 1
    """Baseline only: how many pods share the tiers' maxima."""
    tiers: tuple[TierLimit, ...] = ()
    features: dict[str, Annotated[int, Field(ge=0, le=100)]] = Field(default_factory=dict)
    """Feature name to the percentage of users who may have it."""
    slowed: dict[str, SlowedFeature] = Field(default_factory=dict)
    """Those that fewer users have than usual, and why; documents of older operators name none."""
    peer_pass: str = ""
    """Lease only: where this pod's agent is, signed for the other pods of the service (`meltguard.api.peer_pass`)."""
    heat: Annotated[float, Field(gt=0, le=1)] = 1.0
    """What heat leaves of this pod's GPUs; 1 is cool. The agent's load report says so to whoever divides requests."""
