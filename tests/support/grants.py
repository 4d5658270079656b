"""Grants for tests."""

from typing import Any

from meltguard.core.grant import Grant, GrantKind, TierGrant
from meltguard.core.policy import Level, Quota, TierState
from meltguard.core.units import Epoch, Instant, Percent, PodUid, Revision, Seconds, TierName, UnitsPerSecond
from meltguard.ports import Target


def a_tier_grant(name: str = "free", **changes: Any) -> TierGrant:
    """A tier that waits when it is over its rate."""
    fields: dict[str, Any] = {
        "name": TierName(name),
        "priority": 0,
        "state": TierState.DELAY,
        "rate": UnitsPerSecond(0.5),
        "burst": 1.0,
        "concurrency": None,
        "queue": 10,
        "max_wait": Seconds(30.0),
        "shed_status": 503,
        "max_rate": UnitsPerSecond(2.0),
        "quota": Quota(images=3, time_zone="UTC"),
        "message": "Free images pause.",
        "why": "demand is more than the GPUs can do",
        "since": Instant(1_800_000_000.0),
        "safe_rate": None,
    }
    return TierGrant(**{**fields, **changes})


def a_grant(pod: str | None = "pod-1", **changes: Any) -> Grant:
    """A lease for one pod."""
    fields: dict[str, Any] = {
        "kind": GrantKind.ENFORCE,
        "namespace": "serving",
        "policy": "image-gen",
        "policy_uid": "policy-1",
        "pod": PodUid(pod) if pod else None,
        "epoch": Epoch(1),
        "revision": Revision(1),
        "issued_at": Instant(1_800_000_000.0),
        "ttl": Seconds(120.0),
        "level": Level.OVERLOADED,
        "why": "wait 9 s",
        "pods": 4,
        "tiers": (a_tier_grant(),),
        "features": {"image-edit": Percent(5)},
    }
    return Grant(**{**fields, **changes})


def a_target(pod: str = "pod-1", address: str = "127.0.0.1", port: int = 9901) -> Target:
    """Where a pod's agent listens."""
    return Target(pod=PodUid(pod), name=f"serving/{pod}", address=address, port=port)
