"""Speaks with the pods that must leave a node: tells them, takes it back, evicts them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meltguard.clock import rfc3339
from meltguard.controller.events import EventLog, Reason, pod_ref
from meltguard.controller.telemetry import Telemetry
from meltguard.core.fleet import (
    ASKED_AT_ANNOTATION,
    EVICT_AFTER_ANNOTATION,
    NOTICE_ANNOTATION,
    SAVED_AT_ANNOTATION,
    Claim,
    PodView,
)
from meltguard.core.move_actions import Notify, Withdraw
from meltguard.errors import Conflict, Unavailable
from meltguard.ports import PodWrites

log = logging.getLogger(__name__)

WITHDRAWN: Mapping[str, None] = {NOTICE_ANNOTATION: None, ASKED_AT_ANNOTATION: None, EVICT_AFTER_ANNOTATION: None}
"""A notice that is taken back leaves nothing behind."""


@dataclass(slots=True)
class Leavers:
    """Every write is to exactly the pod that was read; one that fails is tried again at the next pass."""

    pods: PodWrites
    events: EventLog
    telemetry: Telemetry

    async def tell(self, notice: Notify, claim: Claim) -> None:
        """Write the notice onto each pod, then say it as an Event. Raises Conflict or Unavailable."""
        until = rfc3339(notice.evict_after)
        for pod in notice.pods:
            await self.pods.annotate_pod(
                pod,
                {
                    NOTICE_ANNOTATION: notice.move_id,
                    ASKED_AT_ANNOTATION: rfc3339(notice.asked_at),
                    EVICT_AFTER_ANNOTATION: until,
                },
            )
            text = (
                f"node {notice.node} is lent to {claim.to} for {claim.policy}: this pod is evicted after {until}, or "
                f"as soon as it says that its work is saved by annotation {SAVED_AT_ANNOTATION} (RFC 3339, now)"
            )
            await self.events.say(pod_ref(pod), Reason.EVICTION_NOTICE, text)

    async def untell(self, withdrawal: Withdraw) -> None:
        """Take the notice off each pod. Raises as `tell`."""
        for pod in withdrawal.pods:
            await self.pods.annotate_pod(pod, WITHDRAWN)
            text = f"this pod stays on {withdrawal.node}: {withdrawal.why}"
            await self.events.say(pod_ref(pod), Reason.NOTICE_WITHDRAWN, text)

    async def evict(self, pods: Sequence[PodView]) -> str:
        """Ask each pod to leave; what stood in the way of some, in words, "" where nothing did."""
        blocked: list[str] = []
        for pod in pods:
            try:
                await self.pods.evict(pod)
            except Conflict:
                continue  # it changed since it was read: looked at again at the next pass
            except Unavailable as exc:
                blocked.append(f"{pod.namespace}/{pod.name}: {exc}")
                log.info("pod not evicted", extra={"pod": f"{pod.namespace}/{pod.name}", "why": str(exc)})
            else:
                self.telemetry.evictions.inc()
        return "; ".join(blocked[:3])
