"""What one pod may admit: the decision's word to one agent, before it is signed."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from meltguard.core.decision import FeatureShare
from meltguard.core.policy import Level, Quota, TierState
from meltguard.core.units import Epoch, Instant, Percent, PodUid, Revision, Seconds, Share, TierName, UnitsPerSecond


class GrantKind(StrEnum):
    """What a grant asks of the agent."""

    ENFORCE = "Enforce"
    OBSERVE = "Observe"
    RELEASED = "Released"
    BASELINE = "Baseline"


@dataclass(frozen=True, slots=True, kw_only=True)
class TierGrant:
    """One tier's part of a grant."""

    name: TierName
    priority: int
    state: TierState
    rate: UnitsPerSecond | None
    burst: float
    concurrency: int | None
    queue: int
    max_wait: Seconds
    shed_status: int
    max_rate: UnitsPerSecond | None
    quota: Quota | None
    message: str
    why: str
    since: Instant | None
    safe_rate: UnitsPerSecond | None
    lifts_when: str = ""
    until: Instant | None = None  # it ends then, if not before


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one pod (or, as a baseline, each pod of a service) may admit."""

    kind: GrantKind
    namespace: str
    policy: str
    policy_uid: str
    pod: PodUid | None  # None in a baseline
    epoch: Epoch
    revision: Revision
    issued_at: Instant
    ttl: Seconds | None  # None in a baseline
    level: Level
    why: str
    pods: int
    tiers: tuple[TierGrant, ...]
    features: Mapping[str, Percent]
    slowed: tuple[FeatureShare, ...] = ()  # the features among them that fewer have than usual, and why
    lifts_when: str = ""  # what must come about for a milder level
    heat: Share = Share(1.0)  # what heat leaves of the pod's GPUs; whoever divides requests sends it less
