"""Updates of the service wait while it is pressed: a rollout takes serving pods away just when they are needed.

Where none serves for ten minutes nothing is spared by that, and the update that waits may be what mends it.
"""

from dataclasses import replace
from typing import Final

from meltguard.core.level import BLIND, LevelNow
from meltguard.core.policy import Mode, Policy
from meltguard.core.rollout_state import RESUMED, Rollouts, RolloutState, RolloutWrite, left_alone
from meltguard.core.seen import RolloutView, Snapshot, TrialStage
from meltguard.core.units import Instant
from meltguard.core.update_trial import trial_of
from meltguard.core.wording import when

FREE: Final = Rollouts(state=RolloutState.FREE)
_STARTS_PODS: Final = frozenset({TrialStage.STARTING, TrialStage.WIDENING})
"""Stages that a policy that is paused still ends: else more and more pods would start."""


def rollouts(policy: Policy, level: LevelNow, seen: Snapshot, down: Instant | None, now: Instant) -> Rollouts | None:
    """Whether updates wait; None where the policy never holds them. `down` is as `down_since` tells it.

    Held is only what was not held before, so that resuming restores exactly what was found. A person who resumes a
    rollout that we hold is obeyed until the level has fallen.
    """
    if policy.hold_at is None:
        return None
    view = seen.rollout
    if view is None:
        return Rollouts(state=RolloutState.UNKNOWN, cause=seen.rollout_problem or "the workload is not read yet")
    asked = _asked(policy, level, down, now)
    if view.mark is None:
        return _unheld(policy, asked, paused=view.paused)
    if view.mark.policy_uid != policy.uid:
        return left_alone(f"{view.mark.policy} holds it")
    return _held(policy, asked, (view, seen), (view.mark.since, now))


def down_since(before: Instant | None, seen: Snapshot, now: Instant) -> Instant | None:
    """Since when no pod is Ready; None while one is. Once that let updates go, they go until every pod is Ready."""
    if not seen.ready_pods:
        return now if before is None else before
    return before if before is not None and _is_long(before, now) and seen.unready_pods else None


def _is_long(down: Instant, now: Instant) -> bool:
    return now - down >= BLIND


def _asked(policy: Policy, level: LevelNow, down: Instant | None, now: Instant) -> Rollouts:
    """What the level asks for, whatever is held now."""
    if policy.hold_at is None or level.level < policy.hold_at:
        return FREE
    cause = f"{level.named} holds updates of the service (rollouts.holdAt {policy.hold_at.label})"
    lifts = level.falls_below(policy.hold_at)
    if down is not None and _is_long(down, now):
        return replace(FREE, cause=f"no pod was Ready from {when(down)} on: an update may be what mends the service")
    if down is not None:
        lifts = f"{lifts}; or no pod is Ready until {when(Instant(down + BLIND))}"
    return Rollouts(state=RolloutState.HELD, since=now, cause=cause, lifts_when=lifts)


def _unheld(policy: Policy, asked: Rollouts, *, paused: bool) -> Rollouts:
    if asked.state is RolloutState.FREE:
        return asked
    if paused:
        return left_alone("it was paused already, not by us")
    if policy.mode is not Mode.ENFORCE:
        return replace(FREE, cause=f"{asked.cause}; mode {policy.mode} writes nothing")
    return replace(asked, write=RolloutWrite.HOLD)


def _held(
    policy: Policy, asked: Rollouts, found: tuple[RolloutView, Snapshot], times: tuple[Instant, Instant]
) -> Rollouts:
    """Ours. Shadow holds nothing; Paused goes on holding what was held."""
    (view, seen), (since, now) = found, times
    trial = view.mark.trial if view.mark is not None else None
    if policy.mode is Mode.PAUSED and (trial is None or trial.stage not in _STARTS_PODS):
        cause, lifts = "it was held when the policy was paused", "the policy is resumed"
        return Rollouts(state=RolloutState.HELD, since=since, cause=cause, lifts_when=lifts)
    if policy.mode is Mode.SHADOW:
        return replace(FREE, write=letting_go(view))
    if asked.state is RolloutState.FREE:
        return replace(asked, write=letting_go(view))
    held = replace(asked, since=since)
    tried = trial_of(policy, held, (view, seen), now)
    if tried is not None:
        return tried
    if not view.paused:
        return left_alone(RESUMED)
    return held


def letting_go(view: RolloutView) -> RolloutWrite:
    """The write that ends a hold of ours: where someone has resumed it already, only the mark is left to take off."""
    return RolloutWrite.RESUME if view.paused else RolloutWrite.FORGET
