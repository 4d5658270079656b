"""What a node looks like at each step of its move."""

from dataclasses import dataclass, replace
from typing import Final

from meltguard.core.fleet import Change, Claim, MoveStep, NodeView
from meltguard.core.policy import Taint

CORDON_TAINT: Final = "node.kubernetes.io/unschedulable"
"""Set and removed by Kubernetes itself as the node is cordoned and uncordoned: never recorded, never written."""

OWNER_MARKS: Final[dict[str, str]] = {
    "cluster-autoscaler.kubernetes.io/scale-down-disabled": "true",
    "karpenter.sh/do-not-disrupt": "true",
}
"""Told to other node owners while a node is ours; put back as found."""


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
        case MoveStep.CORDONED | MoveStep.NOTIFIED | MoveStep.DRAINING | MoveStep.RECALLED:
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


def is_home(node: NodeView, claim: Claim) -> bool:
    """Whether a node is as it was before this move, in all that the move changes."""
    labels = all(node.labels.get(key) == value for key, value in claim.prior.labels.items())
    marks = all(node.annotations.get(key) == claim.prior.annotations.get(key) for key in OWNER_MARKS)
    shaped = node.taints == restore_taints(node.taints, claim) and node.unschedulable == claim.prior.unschedulable
    return labels and marks and shaped
