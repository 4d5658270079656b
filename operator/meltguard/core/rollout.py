"""Updates of the service wait while it is pressed: a rollout takes serving pods away just when they are needed."""

from dataclasses import replace
from typing import Final

from meltguard.core.level import LevelNow
from meltguard.core.policy import Mode, Policy
from meltguard.core.rollout_state import RESUMED, Rollouts, RolloutState, RolloutWrite, left_alone
from meltguard.core.seen import RolloutView, Snapshot, TrialStage
from meltguard.core.units import Instant
from meltguard.core.update_trial import trial_of

FREE: Final = Rollouts(state=RolloutState.FREE)
_STARTS_PODS: Final = frozenset({TrialStage.STARTING, TrialStage.WIDENING})
"""Stages that a policy that is paused still ends: else more and more pods would start."""


def rollouts(policy: Policy, level: LevelNow, seen: Snapshot, now: Instant) -> Rollouts | None:
    """Whether updates wait; None where the policy never holds them.

    Held is only what was not held before, so that resuming restores exactly what was found. A person who resumes a
    rollout that we hold is obeyed until the level has fallen.
    """
    if policy.hold_at is None:
        return None
    view = seen.rollout
    if view is None:
        return Rollouts(state=RolloutState.UNKNOWN, cause=seen.rollout_problem or "the workload is not read yet")
    if view.mark is None:
        return _unheld(policy, level, paused=view.paused, now=now)
    if view.mark.policy_uid != policy.uid:
        return left_alone(f"{view.mark.policy} holds it")
    return _held(policy, level, (view, seen), (view.mark.since, now))


def _asks(policy: Policy, level: LevelNow) -> bool:
    return policy.hold_at is not None and level.level >= policy.hold_at


def _words(policy: Policy, level: LevelNow) -> tuple[str, str]:
    """Cause and lift condition of a hold."""
    if policy.hold_at is None:
        return "", ""
    cause = f"{level.named} holds updates of the service (rollouts.holdAt {policy.hold_at.label})"
    return cause, level.falls_below(policy.hold_at)


def _unheld(policy: Policy, level: LevelNow, *, paused: bool, now: Instant) -> Rollouts:
    if not _asks(policy, level):
        return FREE
    if paused:
        return left_alone("it was paused already, not by us")
    cause, lifts = _words(policy, level)
    if policy.mode is not Mode.ENFORCE:
        return replace(FREE, cause=f"{cause}; mode {policy.mode} writes nothing")
    return Rollouts(state=RolloutState.HELD, since=now, cause=cause, lifts_when=lifts, write=RolloutWrite.HOLD)


def _held(
    policy: Policy, level: LevelNow, found: tuple[RolloutView, Snapshot], when: tuple[Instant, Instant]
) -> Rollouts:
    """Ours. Shadow holds nothing; Paused goes on holding what was held."""
    (view, seen), (since, now) = found, when
    trial = view.mark.trial if view.mark is not None else None
    if policy.mode is Mode.PAUSED and (trial is None or trial.stage not in _STARTS_PODS):
        cause, lifts = "it was held when the policy was paused", "the policy is resumed"
        return Rollouts(state=RolloutState.HELD, since=since, cause=cause, lifts_when=lifts)
    if policy.mode is Mode.SHADOW or not _asks(policy, level):
        return replace(FREE, write=letting_go(view))
    cause, lifts = _words(policy, level)
    held = Rollouts(state=RolloutState.HELD, since=since, cause=cause, lifts_when=lifts)
    tried = trial_of(policy, held, (view, seen), now)
    if tried is not None:
        return tried
    if not view.paused:
        return left_alone(RESUMED)
    return held


def letting_go(view: RolloutView) -> RolloutWrite:
    """The write that ends a hold of ours: where someone has resumed it already, only the mark is left to take off."""
    return RolloutWrite.RESUME if view.paused else RolloutWrite.FORGET
