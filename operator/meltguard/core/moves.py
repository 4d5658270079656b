"""A node's way out and home: which step comes next, and what the node looks like after it.

Every step is entered by one write that a crash may fall before or after; what is read from the node decides anew.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from meltguard.core.fleet import Change, Claim, MoveStep, NodeView, PodView, Prior
from meltguard.core.policy import Pool, Taint
from meltguard.core.units import Instant, NodeName, Seconds

STEP_TIME = Seconds(60.0)
"""How long an outbound step may take before the move is undone."""

LEAVE_TIME = Seconds(120.0)
"""How long serving pods may take to leave by themselves (finish their images) before they are evicted."""

CORDON_TAINT = "node.kubernetes.io/unschedulable"
"""Set and removed by Kubernetes itself as the node is cordoned and uncordoned: never recorded, never written."""

OWNER_MARKS: dict[str, str] = {
    "cluster-autoscaler.kubernetes.io/scale-down-disabled": "true",
    "karpenter.sh/do-not-disrupt": "true",
}
"""Told to other node owners while a node is ours; put back as found."""


class Wanted(StrEnum):
    """Where a claimed node is to go."""

    OUT = "Out"  # to the borrower, or to stay there
    HOME = "Home"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Where to, and why in words (kept on the node when it is recalled)."""

    wanted: Wanted
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Enter:
    """Write this claim, with its step's effect."""

    claim: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The node is as found: uncordon what we cordoned and take the claim off."""

    claim: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Evict:
    """Ask these pods to leave, through the Eviction API."""

    node: NodeName
    pods: tuple[PodView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing to write now; `why` says what is awaited and until when."""

    node: NodeName
    why: str


MoveAction = Enter | Release | Evict | Wait


def new_claim(node: NodeView, policy: tuple[str, str], pools: tuple[Pool, Pool], at: tuple[Instant, Instant]) -> Claim:
    """The claim that a move begins with: `policy` is (key, uid), `pools` (home, to), `at` (now, due)."""
    home, to = pools
    now, due = at
    keys = sorted({*home.labels, *to.labels})
    return Claim(
        move_id=f"{policy[1][:8]}-{node.uid[:8]}-{now:.0f}",
        policy=policy[0],
        policy_uid=policy[1],
        home=home.name,
        to=to.name,
        step=MoveStep.CLAIMED,
        since=now,
        step_deadline=Instant(now + STEP_TIME),
        due=due,
        prior=Prior(
            labels={key: node.labels.get(key) for key in keys},
            taints=tuple(taint for taint in node.taints if taint.key != CORDON_TAINT),
            unschedulable=node.unschedulable,
            annotations={key: node.annotations.get(key) for key in sorted(OWNER_MARKS)},
        ),
        change=Change(
            labels={key: to.labels.get(key) for key in keys},
            taints_off=tuple(taint for taint in home.taints if taint not in to.taints),
            taints_on=to.taints,
        ),
    )


def next_action(node: NodeView, claim: Claim, intent: Intent, now: Instant) -> MoveAction:
    """The one thing to do for a claimed node now. `node` must have been read afresh.

    A recall is never taken back: a node on its way home gets there, whatever is wanted now.
    """
    if intent.wanted is Wanted.OUT and claim.step in _OUTWARD:
        trouble = _trouble(node, claim, now)
        if not trouble:
            return _OUTWARD[claim.step](node, claim, now)
        return _homeward(node, replace(claim, why=trouble), now)
    return _homeward(node, claim if claim.why else replace(claim, why=intent.why), now)


def _trouble(node: NodeView, claim: Claim, now: Instant) -> str:
    """Why the way out must end; empty where nothing speaks against going on."""
    if now > claim.due:
        return "its promised return has come"
    if claim.step is MoveStep.LENT:
        return ""
    if now > claim.step_deadline:
        return f"step {claim.step} took longer than {STEP_TIME:.0f} s"
    if claim.step is not MoveStep.CLAIMED and not node.unschedulable:
        return "someone uncordoned the node in the middle of its move"
    return ""


def _from_claimed(_: NodeView, claim: Claim, now: Instant) -> MoveAction:
    return _enter(claim, MoveStep.CORDONED, now)


def _from_cordoned(node: NodeView, claim: Claim, now: Instant) -> MoveAction:
    return _wait_for_pods(node) or _enter(claim, MoveStep.RELABELLED, now)


def _from_relabelled(node: NodeView, claim: Claim, now: Instant) -> MoveAction:
    if node.gpus <= 0 or not node.ready:
        return Wait(node=node.name, why="the node is not Ready or shows no GPU to allocate")
    return _wait_for_pods(node) or _enter(claim, MoveStep.LENT, now)


def _from_lent(node: NodeView, claim: Claim, _: Instant) -> MoveAction:
    return Wait(node=node.name, why=f"lent to {claim.to}")


_OUTWARD: Final = {
    MoveStep.CLAIMED: _from_claimed,
    MoveStep.CORDONED: _from_cordoned,  # a bind in flight may still land: listed once more before the labels change
    MoveStep.RELABELLED: _from_relabelled,  # and again before it opens for the borrower
    MoveStep.LENT: _from_lent,
}


def _wait_for_pods(node: NodeView) -> Wait | None:
    if not node.movable_pods:
        return None
    return Wait(node=node.name, why=f"{len(node.movable_pods)} pods are bound: {_names(node.movable_pods)}")


def _homeward(node: NodeView, claim: Claim, now: Instant) -> MoveAction:
    if claim.step is MoveStep.CLAIMED:
        return Release(claim=claim)
    if claim.step is MoveStep.HOME:
        return _when_untainted(node, claim, now)
    if claim.step in {MoveStep.CORDONED, MoveStep.RESTORED}:
        return _enter(claim, MoveStep.HOME, now)
    return _leave(node, claim, now)


def _when_untainted(node: NodeView, claim: Claim, now: Instant) -> MoveAction:
    """Kubernetes takes its own taint off a moment after the cordon: until then the node is not as it was found."""
    tainted = any(taint.key == CORDON_TAINT for taint in node.taints)
    if tainted and not node.unschedulable and now <= claim.step_deadline:
        return Wait(node=node.name, why=f"Kubernetes has not taken {CORDON_TAINT} off yet")
    return Release(claim=claim)


def _leave(node: NodeView, claim: Claim, now: Instant) -> MoveAction:
    if claim.step is not MoveStep.RECALLED:
        return _enter(_keeping_foreign_cordon(node, claim), MoveStep.RECALLED, now)
    if not node.unschedulable:
        return _enter(claim, MoveStep.RECALLED, now)  # uncordoned by someone: no new pod may come
    if not node.movable_pods:
        return _enter(claim, MoveStep.RESTORED, now)
    staying = tuple(pod for pod in node.movable_pods if not pod.terminating)
    if now > claim.step_deadline and staying:
        return Evict(node=node.name, pods=staying)
    return Wait(node=node.name, why=f"{len(node.movable_pods)} pods are finishing: {_names(node.movable_pods)}")


def _keeping_foreign_cordon(node: NodeView, claim: Claim) -> Claim:
    """Someone cordoned the node while it was lent: that cordon is theirs and stays."""
    if claim.step is MoveStep.LENT and node.unschedulable:
        return replace(claim, prior=replace(claim.prior, unschedulable=True))
    return claim


def _enter(claim: Claim, step: MoveStep, now: Instant) -> Enter:
    allowed = LEAVE_TIME if step is MoveStep.RECALLED else STEP_TIME
    return Enter(claim=replace(claim, step=step, step_deadline=Instant(now + allowed)))


def _names(pods: tuple[PodView, ...], most: int = 3) -> str:
    shown = ", ".join(f"{pod.namespace}/{pod.name}" for pod in pods[:most])
    return shown if len(pods) <= most else f"{shown} and {len(pods) - most} more"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeShape:
    """What a step makes of a node. Labels: only keys that change, None removes one."""

    labels: dict[str, str | None]
    taints: tuple[Taint, ...]
    unschedulable: bool
    annotations: dict[str, str | None]


def shape_at(node: NodeView, claim: Claim) -> NodeShape:
    """How the node must look once `claim.step` is entered; `node` is as read before."""
    as_read = NodeShape(labels={}, taints=node.taints, unschedulable=node.unschedulable, annotations={})
    match claim.step:
        case MoveStep.CLAIMED:
            return replace(as_read, annotations=dict(OWNER_MARKS))
        case MoveStep.CORDONED | MoveStep.RECALLED:
            return replace(as_read, unschedulable=True)
        case MoveStep.RELABELLED:
            taints = swap_taints(node.taints, claim.change)
            return replace(as_read, labels=dict(claim.change.labels), taints=taints, unschedulable=True)
        case MoveStep.LENT | MoveStep.HOME:
            return replace(as_read, unschedulable=claim.prior.unschedulable)
        case MoveStep.RESTORED:
            taints = restore_taints(node.taints, claim)
            return replace(as_read, labels=dict(claim.prior.labels), taints=taints, unschedulable=True)


def released_shape(node: NodeView, claim: Claim) -> NodeShape:
    """How the node must look when the claim comes off: other owners' marks as found."""
    return NodeShape(
        labels={}, taints=node.taints, unschedulable=node.unschedulable, annotations=dict(claim.prior.annotations)
    )


def swap_taints(present: tuple[Taint, ...], change: Change) -> tuple[Taint, ...]:
    """The taints with the home pool's taken off and the borrower's put on; others' stay, in order."""
    kept = tuple(taint for taint in present if taint not in change.taints_off)
    return kept + tuple(taint for taint in change.taints_on if taint not in kept)


def restore_taints(present: tuple[Taint, ...], claim: Claim) -> tuple[Taint, ...]:
    """The taints as found, in their order. What others added since stays; what they took off of theirs stays off."""
    ours_off, ours_on = claim.change.taints_off, claim.change.taints_on
    back = tuple(taint for taint in claim.prior.taints if taint in ours_off or taint in present)
    added = tuple(taint for taint in present if taint not in claim.prior.taints and taint not in ours_on)
    return back + added
