"""From a service's limits to each pod's grant, and to the baseline that holds without one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meltguard.core.decision import Decision, TierLimit
from meltguard.core.grant import Grant, GrantKind, TierGrant
from meltguard.core.lapsed import rate_after
from meltguard.core.policy import Level, Mode, Policy, Tier, TierState
from meltguard.core.units import Epoch, Instant, PodUid, Revision, Seconds, Share, TierName, UnitsPerSecond

LEASE_TTL = Seconds(120.0)

SAFE_SHARE = 0.8
"""Without the operator, the tiers together may have this share of what the GPUs last did."""

LEAST_BURST = 4.0
BURST_TARGETS = 1.0
"""A tier's bucket holds its rate for this many wait targets, and one image unit at least.

Less would lose what a small pod's few requests do not fetch at once, and with it the GPUs' time.
"""

LEAST_QUEUE, MOST_QUEUE = 4, 1000

HEAT_STEPS = 20
"""A pod is told what heat leaves it in this many steps: a sensor that flickers is not worth a push."""

MOST_IN_GPUS: Final = 10_000
SPREAD: Final = 3.0
"""Standard deviations of a random arrival's numbers that a tier may have in the GPUs beyond the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What makes a grant unique and ordered."""

    epoch: Epoch
    revision: Revision
    at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What the service's pods and GPUs do."""

    pods: int
    wait_target: Seconds
    per_pod: UnitsPerSecond
    per_gpu: UnitsPerSecond | None  # None: not learned


def grant_for(
    policy: Policy, decision: Decision, pod: tuple[PodUid, int], rates: Mapping[TierName, UnitsPerSecond], stamp: Stamp
) -> Grant:
    """One pod's lease. `pod` is (uid, number of ready pods); `rates` has the limited tiers' shares of this pod."""
    uid, pods = pod
    by_tier = {limit.tier: limit for limit in decision.limits}
    pace = Pace(
        pods=pods,
        wait_target=policy.wait_target,
        per_pod=UnitsPerSecond((decision.capacity or 0.0) / max(1, pods)),
        per_gpu=decision.memory.units_per_gpu,
    )
    return Grant(
        kind=GrantKind.OBSERVE if policy.mode is Mode.SHADOW else GrantKind.ENFORCE,
        namespace=policy.namespace,
        policy=policy.name,
        policy_uid=policy.uid,
        pod=uid,
        epoch=stamp.epoch,
        revision=stamp.revision,
        issued_at=stamp.at,
        ttl=LEASE_TTL,
        level=decision.level,
        why=decision.why,
        pods=pods,
        tiers=tuple(_lease(tier, by_tier[tier.name], rates.get(tier.name), pace) for tier in policy.tiers),
        features={one.name: one.share for one in decision.features},
        slowed=tuple(one for one in decision.features if one.cause),
        lifts_when=decision.level_lifts,
        heat=Share(max(1, round(decision.heat.get(uid, 1.0) * HEAT_STEPS)) / HEAT_STEPS),
    )


def _lease(tier: Tier, limit: TierLimit, rate: UnitsPerSecond | None, pace: Pace) -> TierGrant:
    drains = pace.per_pod if rate is None else rate
    return TierGrant(
        name=tier.name,
        priority=tier.priority,
        state=limit.state,
        rate=rate,
        burst=max(LEAST_BURST, drains * BURST_TARGETS * pace.wait_target),
        concurrency=None if rate is None or pace.per_gpu is None else concurrency_bound(rate, pace.per_gpu),
        queue=queue_bound(drains, tier.max_wait),
        max_wait=tier.max_wait,
        shed_status=tier.shed_status,
        max_rate=None if tier.max_rate is None else UnitsPerSecond(tier.max_rate / max(1, pace.pods)),
        quota=tier.quota,
        message=tier.message,
        why=limit.cause,
        since=limit.since,
        safe_rate=None,
        lifts_when=limit.lifts_when,
        until=limit.until,
    )


def concurrency_bound(rate: UnitsPerSecond, per_gpu: UnitsPerSecond) -> int:
    """Requests of a limited tier that may be in one pod's GPUs: Little's law, and what chance adds to its mean.

    The rate believes what a request says it costs. Where images take longer than that, this keeps a limited tier from
    filling GPUs that others wait for.

    >>> concurrency_bound(UnitsPerSecond(0.8), UnitsPerSecond(0.2))
    10
    """
    mean = rate / per_gpu
    return min(MOST_IN_GPUS, max(1, math.ceil(mean + SPREAD * math.sqrt(mean))))


def queue_bound(rate: UnitsPerSecond, max_wait: Seconds) -> int:
    """Requests that may wait: as many as are served within the longest wait, so that none waits in vain.

    >>> queue_bound(UnitsPerSecond(0.5), Seconds(30.0))
    15
    """
    return min(MOST_QUEUE, max(LEAST_QUEUE, math.ceil(rate * max_wait)))


def safe_capacity(decision: Decision, pods: int) -> UnitsPerSecond | None:
    """The capacity that a baseline may count on; None where nothing was ever learned.

    While no agent has answered since a restart, or none of a ready pod, what was learned before still holds, for at
    least one GPU a pod: a baseline without safe rates would let everything in where an agent has no lease, one of zero
    nothing.
    """
    learned = decision.memory.units_per_gpu
    if decision.capacity or learned is None:
        return decision.capacity
    return UnitsPerSecond(learned * max(1, pods))


def baseline_for(policy: Policy, capacity: UnitsPerSecond | None, pods: int, at: Instant) -> Grant:
    """What every pod of the service may admit without a live lease. `capacity` is the service's, if learned."""
    count = max(1, pods)
    return Grant(
        kind=GrantKind.BASELINE,
        namespace=policy.namespace,
        policy=policy.name,
        policy_uid=policy.uid,
        pod=None,
        epoch=Epoch(0),
        revision=Revision(0),
        issued_at=at,
        ttl=None,
        level=Level.NORMAL,
        why="",
        pods=count,
        tiers=tuple(_baseline(policy, tier, capacity, count) for tier in policy.tiers),
        features={feature.name: feature.rollout[Level.NORMAL] for feature in policy.features},
    )


def _baseline(policy: Policy, tier: Tier, capacity: UnitsPerSecond | None, pods: int) -> TierGrant:
    weight = tier.weight / sum(other.weight for other in policy.tiers)
    share = None if capacity is None else SAFE_SHARE * capacity * weight / pods
    most = None if tier.max_rate is None else tier.max_rate / pods
    bounds = [bound for bound in (share, most) if bound is not None]
    safe = UnitsPerSecond(min(bounds)) if bounds else None
    return TierGrant(
        name=tier.name,
        priority=tier.priority,
        state=TierState.OPEN if safe is None else TierState.DELAY,
        rate=None,
        burst=1.0,
        concurrency=None,
        queue=queue_bound(safe or UnitsPerSecond(0.0), tier.max_wait),
        max_wait=tier.max_wait,
        shed_status=tier.shed_status,
        max_rate=tier.max_rate,  # the whole tier's: agents divide it by `pods`
        quota=tier.quota,
        message=tier.message,
        why="",
        since=None,
        safe_rate=safe,
    )


def lapsed_rates(baseline: Grant, waited: Seconds) -> dict[TierName, UnitsPerSecond]:
    """What a pod may admit `waited` seconds after its lease ended; a tier that is not there has no rate."""
    found: dict[TierName, UnitsPerSecond] = {}
    for tier in baseline.tiers:
        most = None if tier.max_rate is None else UnitsPerSecond(tier.max_rate / baseline.pods)
        rate = rate_after(tier.safe_rate, most, waited)
        if rate is not None:
            found[tier.name] = rate
    return found


def released(policy: Policy, pod: PodUid, stamp: Stamp) -> Grant:
    """The policy is gone: the agent forgets every document."""
    return Grant(
        kind=GrantKind.RELEASED,
        namespace=policy.namespace,
        policy=policy.name,
        policy_uid=policy.uid,
        pod=pod,
        epoch=stamp.epoch,
        revision=stamp.revision,
        issued_at=stamp.at,
        ttl=LEASE_TTL,
        level=Level.NORMAL,
        why="the policy was deleted",
        pods=1,
        tiers=(),
        features={},
    )
