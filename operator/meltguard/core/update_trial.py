"""The trial of an update in the middle of a surge: one pod of it; then it goes on, back, or waits."""

from dataclasses import replace
from typing import Final

from meltguard.core.policy import Policy
from meltguard.core.rollout_state import RESUMED, Rollouts, RolloutState, RolloutWrite, left_alone
from meltguard.core.seen import PodRevision, RolloutView, Snapshot, TrialMark, TrialStage
from meltguard.core.trial import FEWEST, Tally, Verdict, verdict
from meltguard.core.units import Instant, Seconds, Share

START_LIMIT: Final = Seconds(1800.0)
"""A pod of a new revision that is not Ready after this long is taken back: models are large, but not without end."""

FEWEST_PODS: Final = 2
"""Of a single pod nothing is spared for a trial."""

Found = tuple[RolloutView, Snapshot]


def trial_of(policy: Policy, held: Rollouts, found: Found, now: Instant) -> Rollouts | None:
    """What the trial asks for; None where there is none and none begins. `held` is what holds without it."""
    view, _ = found
    trial = view.mark.trial if view.mark is not None else None
    if policy.cheaper_by is None or policy.cheaper_by >= 1.0 or not view.template or not view.strategy:
        return _ended(held, found, trial, now)
    if trial is None or (trial.template != view.template and trial.stage not in _ON_THE_WAY):
        return _begun(held, found, trial, now)
    if trial.template != view.template:
        return _turned(held, trial, TrialStage.REFUSED, "another update was asked for meanwhile", now)
    return _STAGES[trial.stage](held, trial, found, (policy.cheaper_by, now))


_ON_THE_WAY: Final = frozenset({TrialStage.STARTING, TrialStage.JUDGING})
_WRITES: Final = {
    TrialStage.STARTING: RolloutWrite.TRY,
    TrialStage.JUDGING: RolloutWrite.JUDGE,
    TrialStage.PROMOTED: RolloutWrite.PROMOTE,
    TrialStage.REFUSED: RolloutWrite.REFUSE,
    TrialStage.EQUAL: RolloutWrite.LEVEL,
}


def _turned(held: Rollouts, trial: TrialMark, stage: TrialStage, why: str, now: Instant) -> Rollouts:
    state = RolloutState.PROMOTED if stage is TrialStage.PROMOTED else RolloutState.TRYING
    after = replace(trial, stage=stage, since=now)
    return replace(held, state=state, cause=f"{held.cause}; {why}", write=_WRITES[stage], trial=after)


def _ended(held: Rollouts, found: Found, trial: TrialMark | None, now: Instant) -> Rollouts | None:
    """Trials are not asked for (any more): one that is on its way is taken back."""
    if trial is None:
        return None
    if trial.stage in _ON_THE_WAY:
        return _turned(held, trial, TrialStage.REFUSED, "trials were switched off", now)
    return _STAGES[trial.stage](held, trial, found, (Share(1.0), now))


def _begun(held: Rollouts, found: Found, before: TrialMark | None, now: Instant) -> Rollouts | None:
    view, seen = found
    ready = [one for one in seen.revisions.values() if one.ready]
    spare = len(ready) >= FEWEST_PODS and len(seen.loads) >= FEWEST_PODS
    if not view.paused or not view.pending or not spare or any(not one.ready for one in seen.revisions.values()):
        return _waiting(held, view)
    revisions = tuple(sorted({one.revision for one in ready}))
    strategy = before.strategy if before is not None and view.our_strategy else view.strategy
    trial = TrialMark(stage=TrialStage.STARTING, template=view.template, before=revisions, since=now, strategy=strategy)
    return _turned(held, trial, TrialStage.STARTING, "an update waits; it is tried on one pod", now)


def _waiting(held: Rollouts, view: RolloutView) -> Rollouts | None:
    if not view.paused:
        return None
    return replace(held, cause=f"{held.cause}; an update waits") if view.pending else held


When = tuple[Share, Instant]


def _new(found: Found, trial: TrialMark) -> list[PodRevision]:
    return [one for one in found[1].revisions.values() if one.revision not in trial.before]


def _starting(held: Rollouts, trial: TrialMark, found: Found, when: When) -> Rollouts:
    _, now = when
    if _new(found, trial):
        return _turned(held, trial, TrialStage.JUDGING, "one pod is to run the update; what it costs is compared", now)
    if now - trial.since > START_LIMIT:
        return _turned(held, trial, TrialStage.REFUSED, f"no pod of the update came in {START_LIMIT:.0f} s", now)
    if found[0].paused:
        return _turned(held, trial, TrialStage.REFUSED, "someone paused the update while it started", now)
    if not found[0].our_strategy:
        why = "someone wrote the strategy anew: more than one pod of the update could start"
        return _turned(held, trial, TrialStage.REFUSED, why, now)
    return replace(held, state=RolloutState.TRYING, cause=f"{held.cause}; the update starts on one pod", trial=trial)


def _judging(held: Rollouts, trial: TrialMark, found: Found, when: When) -> Rollouts:
    (view, seen), (by, now) = found, when
    if not view.paused:
        return replace(left_alone(RESUMED), trial=trial)
    if not _new(found, trial):
        return _turned(held, trial, TrialStage.REFUSED, "the update's pod is gone", now)
    if not any(one.ready for one in _new(found, trial)):
        return _loading(held, trial, now)
    counted = seen.trial
    said, within = verdict(counted, by), _in_words(counted)
    if said is Verdict.OPEN:
        cause = f"{held.cause}; the update is compared on one pod: {within}"
        return replace(held, state=RolloutState.TRYING, cause=cause, trial=trial, counted=counted)
    stage, why = {
        Verdict.CHEAPER: (TrialStage.PROMOTED, f"the update goes on: {within}"),
        Verdict.DEARER: (TrialStage.REFUSED, f"the update is taken back until then: {within}"),
        Verdict.EQUAL: (TrialStage.EQUAL, f"the update waits, it makes no difference: {within}"),
    }[said]
    return replace(_turned(held, trial, stage, why, now), counted=counted)


def _loading(held: Rollouts, trial: TrialMark, now: Instant) -> Rollouts:
    """Models are large: what is not Ready yet is waited for, but not without end."""
    if now - trial.since > START_LIMIT:
        return _turned(held, trial, TrialStage.REFUSED, f"the update's pod was not Ready in {START_LIMIT:.0f} s", now)
    return replace(held, state=RolloutState.TRYING, cause=f"{held.cause}; the update's pod is loading", trial=trial)


def _in_words(counted: Tally) -> str:
    if counted.count < FEWEST:
        return f"{counted.count} samples, at least {FEWEST} are needed"
    least, _, most = counted.change
    return f"{100.0 * least:+.0f}% to {100.0 * most:+.0f}% GPU time for an image ({counted.count} samples)"


def _promoted(held: Rollouts, trial: TrialMark, found: Found, _: When) -> Rollouts:
    if found[0].paused:
        return replace(held, cause=f"{held.cause}; someone paused the update that was let go on", trial=trial)
    way = "" if found[0].our_strategy else ", in the way that someone wrote meanwhile"
    cause = f"{held.cause}; this update goes on{way}: it makes images cheaper"
    return replace(held, state=RolloutState.PROMOTED, since=trial.since, cause=cause, trial=trial)


def _refused(held: Rollouts, trial: TrialMark, found: Found, _: When) -> Rollouts:
    """Its pods go by their ReplicaSet: the template stays what people wrote, so nobody is fought."""
    if not found[0].paused:
        return replace(left_alone(RESUMED), trial=trial)
    names = sorted({one.replica_set for one in _new(found, trial) if one.replica_set})
    cause = f"{held.cause}; the update was tried and taken back"
    refused = replace(held, cause=cause, trial=trial)
    return replace(refused, write=RolloutWrite.TAKE_BACK, replica_set=names[0]) if names else refused


def _equal(held: Rollouts, trial: TrialMark, found: Found, _: When) -> Rollouts:
    if not found[0].paused:
        return replace(left_alone(RESUMED), trial=trial)
    return replace(held, cause=f"{held.cause}; the update was tried on one pod and makes no difference", trial=trial)


_STAGES: Final = {
    TrialStage.STARTING: _starting,
    TrialStage.JUDGING: _judging,
    TrialStage.PROMOTED: _promoted,
    TrialStage.REFUSED: _refused,
    TrialStage.EQUAL: _equal,
}
