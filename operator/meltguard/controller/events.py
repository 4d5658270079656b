"""Events: what they are called, what they say, and that the same is not said twice."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from meltguard.adapters.event_shape import EventRecord, EventType, ObjectRef, PostedEvent
from meltguard.core.fleet import PodView
from meltguard.core.policy import Policy, Pool
from meltguard.core.units import NodeName, Seconds
from meltguard.errors import MeltguardError
from meltguard.ports import Clock

log = logging.getLogger(__name__)

REPEAT_AFTER = Seconds(300.0)
"""The same Event about the same object is posted again, as one more of its series, at most this often."""


class Reason(StrEnum):
    """Reasons are part of the interface: programs may rely on them."""

    LEVEL_CHANGED = "LevelChanged"
    TIER_LIMITED = "TierLimited"
    TIER_LIFTED = "TierLifted"
    NODE_BORROWED = "NodeBorrowed"
    NODE_LENT = "NodeLent"
    NODE_RECALLED = "NodeRecalled"
    NODE_RETURNED = "NodeReturned"
    LOAN_ENDED = "LoanEnded"
    BORROWING_REFUSED = "BorrowingRefused"
    METRICS_UNKNOWN = "MetricsUnknown"
    METRICS_KNOWN = "MetricsKnown"
    QUOTAS_NOT_COUNTED = "QuotasNotCounted"
    QUOTAS_COUNTED = "QuotasCounted"
    STALLED = "Stalled"
    PROGRESSING = "Progressing"
    EVICTION_NOTICE = "EvictionNotice"
    NOTICE_WITHDRAWN = "NoticeWithdrawn"
    DRAIN_BEGUN = "DrainBegun"
    DRAIN_BLOCKED = "DrainBlocked"
    MOVE_UNDONE = "MoveUndone"
    MOVE_BLOCKED = "MoveBlocked"
    CLAIM_RESTORED = "ClaimRestored"
    RELEASED = "PolicyReleased"
    SCALE_CONFLICT = "ScaleConflict"
    FEATURE_SLOWED = "FeatureSlowed"
    FEATURE_RESTORED = "FeatureRestored"
    ROLLOUT_HELD = "RolloutHeld"
    ROLLOUT_RESUMED = "RolloutResumed"
    ROLLOUT_LEFT_ALONE = "RolloutLeftAlone"
    UPDATE_TRIED = "UpdateTried"
    OVERRIDE_BEGUN = "OverrideBegun"
    OVERRIDE_ENDED = "OverrideEnded"
    NODES_ORDERED = "NodesOrdered"
    NODES_ARRIVED = "NodesArrived"
    ORDER_FAILED = "OrderFailed"
    SPEND_CAP_REACHED = "SpendCapReached"
    NODES_GIVEN_BACK = "NodesGivenBack"


ACTIONS: Mapping[Reason, str] = {
    Reason.LEVEL_CHANGED: "Decide",
    Reason.TIER_LIMITED: "Limit",
    Reason.TIER_LIFTED: "Lift",
    Reason.NODE_BORROWED: "Borrow",
    Reason.NODE_LENT: "Borrow",
    Reason.NODE_RECALLED: "Return",
    Reason.NODE_RETURNED: "Return",
    Reason.LOAN_ENDED: "Return",
    Reason.BORROWING_REFUSED: "Borrow",
    Reason.METRICS_UNKNOWN: "Observe",
    Reason.METRICS_KNOWN: "Observe",
    Reason.QUOTAS_NOT_COUNTED: "Observe",
    Reason.QUOTAS_COUNTED: "Observe",
    Reason.STALLED: "Observe",
    Reason.PROGRESSING: "Observe",
    Reason.EVICTION_NOTICE: "Notify",
    Reason.NOTICE_WITHDRAWN: "Notify",
    Reason.DRAIN_BEGUN: "Drain",
    Reason.DRAIN_BLOCKED: "Drain",
    Reason.MOVE_UNDONE: "Return",
    Reason.MOVE_BLOCKED: "Move",
    Reason.CLAIM_RESTORED: "Move",
    Reason.RELEASED: "Release",
    Reason.SCALE_CONFLICT: "Scale",
    Reason.FEATURE_SLOWED: "Limit",
    Reason.FEATURE_RESTORED: "Lift",
    Reason.ROLLOUT_HELD: "Hold",
    Reason.ROLLOUT_RESUMED: "Resume",
    Reason.ROLLOUT_LEFT_ALONE: "Hold",
    Reason.UPDATE_TRIED: "Try",
    Reason.OVERRIDE_BEGUN: "Override",
    Reason.OVERRIDE_ENDED: "Override",
    Reason.NODES_ORDERED: "Buy",
    Reason.NODES_ARRIVED: "Buy",
    Reason.ORDER_FAILED: "Buy",
    Reason.SPEND_CAP_REACHED: "Buy",
    Reason.NODES_GIVEN_BACK: "Return",
}
WARNINGS = frozenset(
    {
        Reason.EVICTION_NOTICE,
        Reason.DRAIN_BLOCKED,
        Reason.MOVE_UNDONE,
        Reason.MOVE_BLOCKED,
        Reason.CLAIM_RESTORED,
        Reason.BORROWING_REFUSED,
        Reason.METRICS_UNKNOWN,
        Reason.QUOTAS_NOT_COUNTED,
        Reason.STALLED,
        Reason.SCALE_CONFLICT,
        Reason.ORDER_FAILED,
        Reason.SPEND_CAP_REACHED,
    }
)


def policy_ref(policy: Policy) -> ObjectRef:
    """The policy as an Event's object, or a ConfigMap's owner."""
    return ObjectRef(
        api_version="meltguard.io/v1alpha1",
        kind="ImageServicePolicy",
        name=policy.name,
        uid=policy.uid,
        namespace=policy.namespace,
    )


def pool_ref(pool: Pool) -> ObjectRef:
    """A pool as an Event's object."""
    return ObjectRef(api_version="meltguard.io/v1alpha1", kind="GPUPool", name=pool.name, uid=pool.uid)


def node_ref(node: NodeName) -> ObjectRef:
    """A node as an Event's object; `kubectl describe node` finds Events by the node's name as uid."""
    return ObjectRef(api_version="v1", kind="Node", name=node, uid=node)


def pod_ref(pod: PodView) -> ObjectRef:
    """A pod as an Event's object."""
    return ObjectRef(api_version="v1", kind="Pod", name=pod.name, uid=pod.uid, namespace=pod.namespace)


@dataclass(slots=True)
class Said:
    """An Event that was posted."""

    at: Seconds
    posted: PostedEvent


class EventPoster(Protocol):
    """Writes Events."""

    async def post_event(self, record: EventRecord, previous: PostedEvent | None = None) -> PostedEvent:
        """Say that something happened; with `previous`, once more. Raises MeltguardError where it cannot be said."""
        ...


@dataclass(slots=True)
class EventLog:
    """Posts Events. One that cannot be posted is logged and never stops the loop that had something to say."""

    objects: EventPoster
    clock: Clock
    count: Callable[[Reason], None]  # of each that was posted
    said: dict[tuple[str, str, str], Said] = field(default_factory=dict)

    async def say(self, about: ObjectRef, reason: Reason, message: str) -> None:
        """Post, or count on the series if the same was said before."""
        key = (about.uid, reason.value, message)
        before = self.said.get(key)
        now = self.clock.elapsed()
        if before is not None and now - before.at < REPEAT_AFTER:
            return
        kind = EventType.WARNING if reason in WARNINGS else EventType.NORMAL
        record = EventRecord(regarding=about, reason=reason.value, message=message, action=ACTIONS[reason], type=kind)
        try:
            posted = await self.objects.post_event(record, before.posted if before else None)
        except MeltguardError as exc:
            log.warning("event not posted", extra={"reason": reason.value, "about": about.name, "why": str(exc)})
            return
        self.count(reason)
        self._forget_old(now)
        self.said[key] = Said(at=now, posted=posted)

    def _forget_old(self, now: Seconds) -> None:
        old = [key for key, said in self.said.items() if now - said.at > 2 * REPEAT_AFTER]
        for key in old:
            del self.said[key]
