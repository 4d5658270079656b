"""How running work leaves a node on its way out: told, given time to save, evicted each in its own time.

Nobody is told before all can go, nobody is evicted who was not told, and every wait has an end.
"""

import math
from dataclasses import replace
from typing import Final

from meltguard.core.fleet import Claim, Drain, NodeView, PodView
from meltguard.core.move_actions import Evict, MoveAction, Notify, Scene, Wait
from meltguard.core.policy import OnDeadline
from meltguard.core.preflight import obstacles, wants_to_stay
from meltguard.core.units import Instant, Seconds
from meltguard.core.wording import counted, listed

LAST_GRACE: Final = Seconds(30.0)
"""After the deadline, pods that are already leaving get at least this long."""

NOT_READY: Final = "the node is not Ready: nothing is evicted from it"


def cannot_be_emptied(node: NodeView, drain: Drain, scene: Scene) -> str:
    """Why not all of the node's pods can go now; "" where they can. Asked before anybody is told."""
    found = obstacles(node, drain.eviction, scene.guards, scene.now)
    return "; ".join(f"{one.pod}: {one.text}" for one in found[:3])


def asks_to_stay(node: NodeView, claim: Claim, scene: Scene) -> str:
    """Why a pod must stay after all; "" where all may go.

    A pod's owner may object until its eviction. A pod that landed late must be able to go as those before it, but for
    its minimum runtime: it has just begun.
    """
    if claim.drain is None:
        return ""
    for pod in _staying(node):
        if why := wants_to_stay(pod, scene.now):
            return f"pod {pod.namespace}/{pod.name} {why}"
    late = replace(node, pods=untold(node, claim))
    terms = replace(claim.drain, eviction=replace(claim.drain.eviction, minimum_runtime=Seconds(0.0)))
    return cannot_be_emptied(late, terms, scene) if late.pods else ""


def out_of_time(node: NodeView, drain: Drain, now: Instant) -> str:
    """Why the drain must end; "" while it may go on.

    GiveUp ends it at the deadline. SkipNotice asks everybody to leave then, and ends it when a last grace is over.
    """
    if now <= drain.deadline:
        return ""
    said = f"the node was not empty by its deadline, {drain.eviction.deadline:.0f} s after the claim: {names(node)}"
    if drain.eviction.on_deadline is OnDeadline.GIVE_UP:
        return said if node.movable_pods else ""
    longest = max([pod.grace for pod in node.movable_pods], default=Seconds(0.0))
    return said if now > drain.deadline + max(LAST_GRACE, longest) else ""


def await_answers(node: NodeView, claim: Claim, scene: Scene) -> MoveAction | None:
    """Before the first eviction: tell whom nobody told, then wait until the first may go; None once one may."""
    if not _staying(node) or claim.drain is None:
        return None
    if not node.ready:
        return Wait(node=node.name, why=NOT_READY)
    if strangers := untold(node, claim):
        return _tell(node, claim, strangers, scene.now)
    return None if _due(node, claim.drain, scene.now) else Wait(node=node.name, why=_awaited(node, scene.now))


def empty(node: NodeView, claim: Claim, scene: Scene) -> MoveAction | None:
    """The next thing to do until no movable pod is bound; None once none is."""
    if not node.movable_pods:
        return None
    if claim.drain is None:
        return Wait(node=node.name, why=f"{counted(len(node.movable_pods), 'pod is', 'pods are')} bound: {names(node)}")
    if not node.ready:
        return Wait(node=node.name, why=NOT_READY)
    if strangers := untold(node, claim):
        return _tell(node, claim, strangers, scene.now)
    due = _due(node, claim.drain, scene.now)
    return Evict(node=node.name, pods=due) if due else Wait(node=node.name, why=_awaited(node, scene.now))


def names(node: NodeView) -> str:
    """The pods that are still bound, in words."""
    return listed([f"{pod.namespace}/{pod.name}" for pod in node.movable_pods])


def _staying(node: NodeView) -> tuple[PodView, ...]:
    return tuple(pod for pod in node.movable_pods if not pod.terminating)


def untold(node: NodeView, claim: Claim) -> tuple[PodView, ...]:
    """Pods that this move has not told yet."""
    return tuple(pod for pod in _staying(node) if pod.notice != claim.move_id)


def _due(node: NodeView, drain: Drain, now: Instant) -> tuple[PodView, ...]:
    return tuple(pod for pod in _staying(node) if _may_be_evicted(pod, drain, now))


def _tell(node: NodeView, claim: Claim, pods: tuple[PodView, ...], now: Instant) -> Notify:
    notice = claim.drain.eviction.notice if claim.drain else Seconds(0.0)
    return Notify(
        node=node.name,
        pods=pods,
        move_id=claim.move_id,
        asked_at=Instant(math.floor(now)),  # annotations hold whole seconds: asked no later, evicted no earlier
        evict_after=Instant(math.ceil(now + notice)),
    )


def _may_be_evicted(pod: PodView, drain: Drain, now: Instant) -> bool:
    """Its notice is over, or its work is saved, or the time for notices is."""
    if pod.asked_at is None or pod.evict_after is None:
        return False
    answered = pod.saved_at is not None and pod.saved_at >= pod.asked_at
    skipped = drain.eviction.on_deadline is OnDeadline.SKIP_NOTICE and now > drain.deadline
    return answered or skipped or now >= pod.evict_after


def _awaited(node: NodeView, now: Instant) -> str:
    told = [pod.evict_after for pod in _staying(node) if pod.evict_after is not None]
    if not told:
        return f"{counted(len(node.movable_pods), 'pod is', 'pods are')} ending: {names(node)}"
    left = max(0.0, max(told) - now)
    return f"{counted(len(told), 'pod has', 'pods have')} {left:.0f} s to save work: {names(node)}"
