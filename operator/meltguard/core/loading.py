"""How long a new serving pod takes until its agent answers, learned; and what follows for nodes on loan.

Most of that time the model is loaded. Capacity itself needs none of this: it counts only GPUs whose agents answer.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Final

from meltguard.core.fleet import MoveStep, NodeView
from meltguard.core.units import Instant, NodeName, PodUid, Seconds

SEEN_YOUNG: Final = Seconds(10.0)
"""Only a pod first seen this soon after its start is timed: of an older one nobody knows when it began to serve."""

NEVER: Final = Seconds(1800.0)
"""A pod that has not answered after this long is broken, not slow: it teaches nothing."""

REMEMBERED: Final = 8
"""Starts that the average is over: a new image may load differently."""

PATIENCE: Final = 3.0
"""A node is late after this many times the usual load ..."""

SLACK: Final = Seconds(30.0)
"""... and this much: schedulers and watches take their time, however quick the load."""

WORTH: Final = 0.5
"""At most this share of a loan may go by while the model loads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """What is known of starts so far."""

    usual: Seconds | None = None  # from a pod's start until its agent answers; None: none was seen
    starts: int = 0  # that it was learned from, at most REMEMBERED
    timed: Mapping[PodUid, Instant] = field(default_factory=dict)  # pods that do not answer yet, and their start

    @property
    def late_after(self) -> Seconds | None:
        """When a start counts as failed; None while none was seen."""
        return None if self.usual is None else Seconds(PATIENCE * self.usual + SLACK)


def loading_after(
    before: Loading, started: Mapping[PodUid, Instant], answering: AbstractSet[PodUid], now: Instant
) -> Loading:
    """With the pods that are there now: `started` is when each of the service's began, `answering` whose agents do."""
    after = before
    for pod, since in before.timed.items():
        if pod in answering and now > since:
            after = _learned(after, Seconds(now - since))
    silent = {pod: since for pod, since in started.items() if pod not in answering}
    timed = {
        pod: since for pod, since in silent.items() if now - since <= (NEVER if pod in before.timed else SEEN_YOUNG)
    }
    return replace(after, timed=timed)


def _learned(before: Loading, took: Seconds) -> Loading:
    """A start that was late says no more than that: a pod that crashed ten times is no slow model."""
    starts, limit = min(REMEMBERED, before.starts + 1), before.late_after
    took = took if limit is None else Seconds(min(took, limit))
    usual = took if before.usual is None else Seconds(before.usual + (took - before.usual) / starts)
    return replace(before, usual=usual, starts=starts)


def late_nodes(
    loans: Iterable[NodeView], loading: Loading, serving: AbstractSet[NodeName], now: Instant
) -> frozenset[NodeName]:
    """Lent nodes that should serve by now and do not. None is late before a start of the service was ever seen.

    A pod that was started there since counts from its own start; one that is Ready is not late, only silent.
    """
    limit = loading.late_after
    if limit is None:
        return frozenset()
    return frozenset(node.name for node in loans if node.name not in serving and _waited(node, now) > limit)


def _waited(node: NodeView, now: Instant) -> Seconds:
    claim = node.claim
    if claim is None or claim.step is not MoveStep.LENT or claim.lent_at is None:
        return Seconds(0.0)
    namespace = claim.policy.partition("/")[0]
    pods = [
        pod
        for pod in node.movable_pods
        if pod.namespace == namespace and pod.gpus > 0 and not pod.finished and not pod.terminating
    ]
    if any(pod.ready for pod in pods):
        return Seconds(0.0)
    began = max([claim.lent_at, *(pod.started_at for pod in pods if pod.started_at is not None)])
    return Seconds(now - began)
