"""A node's way out and home: which step comes next.

Every step is entered by one write that a crash may fall before or after; what is read from the node decides anew.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from meltguard.core.draining import asks_to_stay, await_answers, cannot_be_emptied, empty, names, out_of_time
from meltguard.core.fleet import (
    LEAVE_TIME,
    OPT_OUT_ANNOTATION,
    Change,
    Claim,
    Drain,
    MoveStep,
    NodeView,
    PodView,
    Prior,
)
from meltguard.core.move_actions import Enter, Evict, Intent, MoveAction, Release, Scene, Wait, Wanted, Withdraw
from meltguard.core.node_shape import CORDON_TAINT, OWNER_MARKS
from meltguard.core.policy import Pool
from meltguard.core.units import Instant, Seconds
from meltguard.core.wording import counted

STEP_TIME: Final = Seconds(60.0)
"""How long an outbound step may take before the move is undone; the drain has its own deadline."""

WITHDRAW_TIME: Final = Seconds(30.0)
"""How long a node on its way home waits for notices to be taken back; one that stays is a harmless text."""


def new_claim(
    node: NodeView,
    policy: tuple[str, str],
    pools: tuple[Pool, Pool],
    at: tuple[Instant, Instant],
    drain: Drain | None = None,
) -> Claim:
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
        drain=drain,
    )


def next_action(node: NodeView, claim: Claim, intent: Intent, scene: Scene) -> MoveAction:
    """The one thing to do for a claimed node now. `node` and the scene's guards must have been read afresh.

    A recall is never taken back: a node on its way home gets there, whatever is wanted now.
    """
    if intent.wanted is Wanted.ABANDONED and (left := _left_behind(node, claim)):
        return Evict(node=node.name, pods=left)
    if intent.wanted is Wanted.OUT and claim.step in _OUTWARD:
        trouble = _trouble(node, claim, scene)
        if not trouble:
            return _OUTWARD[claim.step](node, claim, scene)
        return _homeward(node, replace(claim, why=trouble), scene.now)
    return _homeward(node, claim if claim.why else replace(claim, why=intent.why), scene.now)


def put_back(node: NodeView, claim: Claim, now: Instant) -> Claim:
    """The claim for a node whose own was taken off, at the step that the node's look tells.

    What was last known of the step may be old. A node that is open to its borrower is lent; any other goes home.
    """
    step = _step_by_look(node, claim)
    lent_at = claim.lent_at
    if step is MoveStep.LENT and lent_at is None:
        lent_at = claim.since
    return replace(claim, step=step, step_deadline=_deadline(claim, step, now), lent_at=lent_at)


def _step_by_look(node: NodeView, claim: Claim) -> MoveStep:
    if any(node.labels.get(key) != value for key, value in claim.change.labels.items()):
        return MoveStep.HOME
    return MoveStep.RECALLED if node.unschedulable and not claim.prior.unschedulable else MoveStep.LENT


def _trouble(node: NodeView, claim: Claim, scene: Scene) -> str:
    """Why the way out must end; empty where nothing speaks against going on."""
    rules = TROUBLES if claim.step is not MoveStep.LENT else TROUBLES_WHILE_LENT
    return next((why for rule in rules if (why := rule(node, claim, scene))), "")


def _is_due(_: NodeView, claim: Claim, scene: Scene) -> str:
    return "its promised return has come" if scene.now > claim.due else ""


def _is_opted_out(node: NodeView, _: Claim, __: Scene) -> str:
    opted_out = node.annotations.get(OPT_OUT_ANNOTATION) == "true"
    return f"it was opted out by {OPT_OUT_ANNOTATION}" if opted_out else ""


def _is_upgraded(node: NodeView, _: Claim, __: Scene) -> str:
    return f"it is under driver upgrade ({node.driver_upgrade})" if node.driver_upgrade else ""


def _is_taken_away(node: NodeView, _: Claim, __: Scene) -> str:
    return f"it {node.goes}" if node.goes else ""


def _was_uncordoned(node: NodeView, claim: Claim, _: Scene) -> str:
    opened = claim.step is not MoveStep.CLAIMED and not node.unschedulable
    return "someone uncordoned the node in the middle of its move" if opened else ""


def _took_too_long(node: NodeView, claim: Claim, scene: Scene) -> str:
    if claim.step in _DRAINS and claim.drain is not None:
        return out_of_time(node, claim.drain, scene.now)
    return f"step {claim.step} took longer than it may" if scene.now > claim.step_deadline else ""


def _must_keep_a_pod(node: NodeView, claim: Claim, scene: Scene) -> str:
    """Before the drain, the preflight asks."""
    early = claim.step in {MoveStep.CLAIMED, MoveStep.CORDONED}
    return "" if early else asks_to_stay(node, claim, scene)


Trouble = Callable[[NodeView, Claim, Scene], str]

TROUBLES_WHILE_LENT: Final[tuple[Trouble, ...]] = (
    _is_due,  # the lender was promised it
    _is_opted_out,  # the lender's word
)
TROUBLES: Final[tuple[Trouble, ...]] = (
    *TROUBLES_WHILE_LENT,
    _is_upgraded,  # someone else is at work there
    _is_taken_away,
    _was_uncordoned,  # an administrator's word
    _took_too_long,  # every wait has an end
    _must_keep_a_pod,  # its owner's word
)


def _from_claimed(_: NodeView, claim: Claim, scene: Scene) -> MoveAction:
    return _enter(claim, MoveStep.CORDONED, scene.now)


def _from_cordoned(node: NodeView, claim: Claim, scene: Scene) -> MoveAction:
    """Looked at once more behind the cordon: a bind in flight may have landed since the claim."""
    if not node.movable_pods:
        return _enter(claim, MoveStep.RELABELLED, scene.now)
    if claim.drain is None:
        return Wait(node=node.name, why=f"{counted(len(node.movable_pods), 'pod is', 'pods are')} bound: {names(node)}")
    why = cannot_be_emptied(node, claim.drain, scene)
    if why:
        return _homeward(node, replace(claim, why=f"it cannot be emptied: {why}"), scene.now)
    return _enter(claim, MoveStep.NOTIFIED, scene.now)


def _from_notified(node: NodeView, claim: Claim, scene: Scene) -> MoveAction:
    return await_answers(node, claim, scene) or _enter(claim, MoveStep.DRAINING, scene.now)


def _from_draining(node: NodeView, claim: Claim, scene: Scene) -> MoveAction:
    return empty(node, claim, scene) or _enter(claim, MoveStep.RELABELLED, scene.now)


def _from_relabelled(node: NodeView, claim: Claim, scene: Scene) -> MoveAction:
    """And once more before it opens for the borrower."""
    if node.gpus <= 0 or not node.ready:
        return Wait(node=node.name, why="the node is not Ready or shows no GPU to allocate")
    return empty(node, claim, scene) or _enter(claim, MoveStep.LENT, scene.now)


def _from_lent(node: NodeView, claim: Claim, _: Scene) -> MoveAction:
    return Wait(node=node.name, why=f"lent to {claim.to}")


_DRAINS: Final = frozenset({MoveStep.NOTIFIED, MoveStep.DRAINING})

_OUTWARD: Final[dict[MoveStep, Callable[[NodeView, Claim, Scene], MoveAction]]] = {
    MoveStep.CLAIMED: _from_claimed,
    MoveStep.CORDONED: _from_cordoned,
    MoveStep.NOTIFIED: _from_notified,
    MoveStep.DRAINING: _from_draining,
    MoveStep.RELABELLED: _from_relabelled,
    MoveStep.LENT: _from_lent,
}


def _homeward(node: NodeView, claim: Claim, now: Instant) -> MoveAction:
    if claim.step is MoveStep.CLAIMED:
        return Release(claim=claim)
    if claim.step is MoveStep.HOME:
        return _when_untainted(node, claim, now)
    if claim.step in {MoveStep.LENT, MoveStep.RECALLED}:
        return _leave(node, claim, now)
    if claim.step is MoveStep.RELABELLED:  # never opened, so no pod of the borrower came
        return _withdraw(node, claim, now) or _enter(claim, MoveStep.RESTORED, now)
    return _withdraw(node, claim, now) or _enter(claim, MoveStep.HOME, now)


def _withdraw(node: NodeView, claim: Claim, now: Instant) -> Withdraw | None:
    """Who stays must not go on believing that it has to leave."""
    told = tuple(pod for pod in node.movable_pods if pod.notice == claim.move_id and not pod.terminating)
    if not told or now > claim.step_deadline + WITHDRAW_TIME:
        return None
    return Withdraw(node=node.name, pods=told, why=claim.why)


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
    return Wait(node=node.name, why=f"{counted(len(node.movable_pods), 'pod is', 'pods are')} finishing: {names(node)}")


def _left_behind(node: NodeView, claim: Claim) -> tuple[PodView, ...]:
    """Pods on a recalled node that no lowered number of replicas will take away: they are asked to go at once."""
    if claim.step is not MoveStep.RECALLED or not node.unschedulable:
        return ()
    return tuple(pod for pod in node.movable_pods if not pod.terminating)


def _keeping_foreign_cordon(node: NodeView, claim: Claim) -> Claim:
    """Someone cordoned the node while it was lent: that cordon is theirs and stays."""
    if claim.step is MoveStep.LENT and node.unschedulable:
        return replace(claim, prior=replace(claim.prior, unschedulable=True))
    return claim


def _enter(claim: Claim, step: MoveStep, now: Instant) -> Enter:
    entered = replace(claim, step=step, step_deadline=_deadline(claim, step, now))
    if step is MoveStep.LENT:
        entered = replace(entered, lent_at=now)
    if step is MoveStep.DRAINING and claim.drain is not None:
        entered = replace(entered, drain=replace(claim.drain, began=now))
    return Enter(claim=entered)


def _deadline(claim: Claim, step: MoveStep, now: Instant) -> Instant:
    if step in _DRAINS and claim.drain is not None:
        return claim.drain.deadline
    if step is MoveStep.RECALLED:
        return Instant(now + LEAVE_TIME)
    if step is MoveStep.RELABELLED and claim.drain is not None:
        return Instant(now + STEP_TIME + claim.drain.eviction.notice)  # a stray that landed late is told too
    return Instant(now + STEP_TIME)
