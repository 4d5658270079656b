"""The trial of an update in the middle of a surge: one pod of it, then share by share to all; or back, or it waits."""

from dataclasses import replace
from typing import Final

from meltguard.core.comparison import Compared, verdict_at
from meltguard.core.policy import Mode, Policy
from meltguard.core.rollout_state import RESUMED, Rollouts, RolloutState, RolloutWrite, left_alone
from meltguard.core.seen import RolloutView, Snapshot, TrialMark, TrialStage
from meltguard.core.trial import FEWEST, Tally, Verdict
from meltguard.core.units import Instant, Seconds, Share
from meltguard.core.update_shares import START_LIMIT, Sides, next_share, taken_back
from meltguard.core.wording import counted

STAGE_LIMIT: Final = Seconds(14_400.0)
"""A share that has no verdict after this long is not waited for any more: the update stays where it is."""

FEWEST_PODS: Final = 2
"""Of a single pod nothing is spared for a trial."""

Found = tuple[RolloutView, Snapshot]


def trial_of(policy: Policy, held: Rollouts, found: Found, now: Instant) -> Rollouts | None:
    """What the trial asks for; None where there is none and none begins. `held` is what holds without it."""
    view, _ = found
    trial = view.mark.trial if view.mark is not None else None
    if trial is not None and trial.template != view.template and trial.stage in _UNDERWAY:
        return _overtaken(held, trial, found, now)
    if trial is not None and trial.stage is TrialStage.WIDENING and policy.mode is Mode.PAUSED:
        return _told(held, trial, found[1], (TrialStage.JUDGING, "the policy was paused: no further pod starts"), now)
    if policy.cheaper_by is None or policy.cheaper_by >= 1.0 or not view.template or not view.strategy:
        return _ended(held, found, trial, now)
    if trial is None or trial.template != view.template:
        return _begun(held, found, trial, now)
    return _STAGES[trial.stage](held, trial, found, (policy.cheaper_by, now))


_ON_THE_WAY: Final = frozenset({TrialStage.STARTING, TrialStage.JUDGING, TrialStage.WIDENING})
_UNDERWAY: Final = _ON_THE_WAY | {TrialStage.PROMOTED}
_WRITES: Final = {
    TrialStage.STARTING: RolloutWrite.TRY,
    TrialStage.JUDGING: RolloutWrite.JUDGE,
    TrialStage.WIDENING: RolloutWrite.WIDEN,
    TrialStage.PROMOTED: RolloutWrite.PROMOTE,
    TrialStage.REFUSED: RolloutWrite.REFUSE,
    TrialStage.EQUAL: RolloutWrite.LEVEL,
}


def _turned(held: Rollouts, trial: TrialMark, stage: TrialStage, why: str, now: Instant) -> Rollouts:
    state = RolloutState.PROMOTED if stage is TrialStage.PROMOTED else RolloutState.TRYING
    after = replace(trial, stage=stage, since=now)
    return replace(held, state=state, cause=f"{held.cause}; {why}", write=_WRITES[stage], trial=after)


def _overtaken(held: Rollouts, trial: TrialMark, found: Found, now: Instant) -> Rollouts:
    """Another update came meanwhile: nothing more starts, and it is tried for itself."""
    view, seen = found
    if trial.stage is TrialStage.PROMOTED and view.paused:
        return replace(held, cause=f"{held.cause}; someone paused the update that was let go on", trial=trial)
    was_better = trial.stage in {TrialStage.WIDENING, TrialStage.PROMOTED}
    stage = TrialStage.EQUAL if was_better else TrialStage.REFUSED
    return _told(held, trial, seen, (stage, "another update was asked for meanwhile"), now)


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


def _starting(held: Rollouts, trial: TrialMark, found: Found, when: When) -> Rollouts:
    (view, seen), (_, now) = found, when
    if Sides.of(seen, trial).new:
        return _turned(held, trial, TrialStage.JUDGING, "one pod is to run the update; what it costs is compared", now)
    if now - trial.since > START_LIMIT:
        return _turned(held, trial, TrialStage.REFUSED, f"no pod of the update came in {START_LIMIT:.0f} s", now)
    if view.paused:
        return _turned(held, trial, TrialStage.REFUSED, "someone paused the update while it started", now)
    if not view.our_strategy:
        return _turned(held, trial, TrialStage.REFUSED, _REWRITTEN, now)
    return replace(held, state=RolloutState.TRYING, cause=f"{held.cause}; the update starts on one pod", trial=trial)


_REWRITTEN: Final = "someone wrote the strategy anew: how many pods of the update start at once is not ours to say"


def _judging(held: Rollouts, trial: TrialMark, found: Found, when: When) -> Rollouts:
    (view, seen), (_, now) = found, when
    if not view.paused:
        return replace(left_alone(RESUMED), trial=trial)
    if not Sides.of(seen, trial).new:
        return _turned(held, trial, TrialStage.REFUSED, "the update's pod is gone", now)
    return _broken(held, trial, found, when) or _judged(held, trial, found, when)


def _judged(held: Rollouts, trial: TrialMark, found: Found, when: When) -> Rollouts:
    """What is said of pods that are not dearer for sure."""
    (_, seen), (by, now) = found, when
    sides = Sides.of(seen, trial)
    if not any(one.ready for one in sides.new.values()):
        return replace(held, state=RolloutState.TRYING, cause=f"{held.cause}; the update's pod is loading", trial=trial)
    said, within = verdict_at(seen.trial, by), in_words(seen.trial, trial)
    if said is Verdict.CHEAPER and all(one.ready for one in sides.new.values()):
        return _further(held, trial, found, now)
    if said is Verdict.EQUAL:
        return _told(held, trial, seen, (TrialStage.EQUAL, f"the update waits, it makes no difference: {within}"), now)
    if now - trial.since > STAGE_LIMIT:
        why = f"the update waits, nothing is certain after {STAGE_LIMIT:.0f} s: {within}"
        return _told(held, trial, seen, (TrialStage.EQUAL, why), now)
    cause = f"{held.cause}; the update is compared on {counted(len(sides.new), 'pod')}: {within}"
    return replace(held, state=RolloutState.TRYING, cause=cause, trial=trial, compared=seen.trial)


def _broken(held: Rollouts, trial: TrialMark, found: Found, when: When) -> Rollouts | None:
    """Taken back, at any share: what is dearer, or does not become Ready."""
    (_, seen), (by, now) = found, when
    if Sides.of(seen, trial).late(seen, trial.since, now):
        why = f"a pod of the update was not Ready in {START_LIMIT:.0f} s; it is taken back until then"
        return _told(held, trial, seen, (TrialStage.REFUSED, why), now)
    if verdict_at(seen.trial, by) is Verdict.DEARER:
        why = f"the update is taken back until then: {in_words(seen.trial, trial)}"
        return _told(held, trial, seen, (TrialStage.REFUSED, why), now)
    return None


def _further(held: Rollouts, trial: TrialMark, found: Found, now: Instant) -> Rollouts:
    """It is cheaper at this share: on to the next."""
    view, seen = found
    if not view.our_strategy:
        return _told(held, trial, seen, (TrialStage.EQUAL, _REWRITTEN), now)
    within = in_words(seen.trial, trial)
    wider = next_share(len(Sides.of(seen, trial).new), view.replicas)
    if wider is None:
        all_pods = replace(trial, pods=view.replicas)
        return _told(held, all_pods, seen, (TrialStage.PROMOTED, f"the update goes on to all pods: {within}"), now)
    why = f"the update goes on to {counted(wider, 'pod')} of {view.replicas}: {within}"
    return _told(held, replace(trial, pods=wider), seen, (TrialStage.WIDENING, why), now)


def _told(held: Rollouts, trial: TrialMark, seen: Snapshot, turn: tuple[TrialStage, str], now: Instant) -> Rollouts:
    """A turn, with the figures that it follows from."""
    return _turned(held, replace(trial, found=seen.trial), *turn, now)


def _widening(held: Rollouts, trial: TrialMark, found: Found, when: When) -> Rollouts:
    """A tenth of the pods at a time, until as many as the share says have been started; then it is paused again."""
    (view, seen), (_, now) = found, when
    sides = Sides.of(seen, trial)
    if view.paused:
        return _told(held, trial, seen, (TrialStage.EQUAL, "someone paused the update: it waits where it is"), now)
    if not view.our_strategy:
        return _told(held, trial, seen, (TrialStage.EQUAL, _REWRITTEN), now)
    broken = _broken(held, trial, found, when)
    if broken is not None:
        return broken
    if not sides.old or len(sides.new) >= trial.pods:
        why = f"the update is to run on {len(sides.new)} of {view.replicas} pods; what it costs is compared again"
        return _told(held, trial, seen, (TrialStage.JUDGING, why), now)
    if now - trial.since > STAGE_LIMIT:
        why = f"the update waits, it did not come to {counted(trial.pods, 'pod')} in {STAGE_LIMIT:.0f} s"
        return _told(held, trial, seen, (TrialStage.EQUAL, why), now)
    cause = f"{held.cause}; the update goes on to {counted(trial.pods, 'pod')}, {len(sides.new)} run it"
    return replace(held, state=RolloutState.TRYING, cause=cause, trial=trial, compared=seen.trial)


def in_words(found: Compared, trial: TrialMark) -> str:
    """What the comparison says: at this share, where it has pairs enough, and in all."""
    if found.whole.count < FEWEST:
        return f"{found.whole.count} samples, at least {FEWEST} are needed"
    new, old = found.rates(trial.before)
    rates = f"; {new:.2f} images a GPU-second, {old:.2f} before" if new is not None and old is not None else ""
    here = found.here
    there = f", here {_bounds(here)}" if FEWEST <= here.count < found.whole.count else ""
    return f"{_bounds(found.whole)} GPU time for an image ({found.whole.count} samples{there}){rates}"


def _bounds(tally: Tally) -> str:
    least, _, most = tally.change
    return f"{100.0 * least:+.0f}% to {100.0 * most:+.0f}%"


def _so_far(trial: TrialMark) -> str:
    return f": {in_words(trial.found, trial)}" if trial.found is not None else ""


def _promoted(held: Rollouts, trial: TrialMark, found: Found, when: When) -> Rollouts:
    """On to all pods, a tenth at a time; as long as others are left to compare it with it may still be taken back."""
    view, seen = found
    if view.paused:
        return replace(held, cause=f"{held.cause}; someone paused the update that was let go on", trial=trial)
    broken = _broken(held, trial, found, when) if Sides.of(seen, trial).old else None
    if broken is not None:
        return broken
    way = "" if view.our_strategy else ", in the way that someone wrote meanwhile"
    cause = f"{held.cause}; this update goes on{way}: it makes images cheaper{_so_far(trial)}"
    return replace(held, state=RolloutState.PROMOTED, since=trial.since, cause=cause, trial=trial)


def _refused(held: Rollouts, trial: TrialMark, found: Found, _: When) -> Rollouts:
    """Its pods go by their ReplicaSet: the template stays what people wrote, so nobody is fought."""
    view, seen = found
    if not view.paused:
        return replace(left_alone(RESUMED), trial=trial)
    cause = f"{held.cause}; the update was tried and taken back{_so_far(trial)}"
    refused = replace(held, cause=cause, trial=trial)
    back = taken_back(view, Sides.of(seen, trial))
    return refused if back is None else replace(refused, write=back[0], resize=back[1])


def _equal(held: Rollouts, trial: TrialMark, found: Found, _: When) -> Rollouts:
    view, seen = found
    if not view.paused:
        return replace(left_alone(RESUMED), trial=trial)
    waits = f"the update was tried and waits on {counted(len(Sides.of(seen, trial).new), 'pod')}"
    return replace(held, cause=f"{held.cause}; {waits}{_so_far(trial)}", trial=trial)


_STAGES: Final = {
    TrialStage.STARTING: _starting,
    TrialStage.JUDGING: _judging,
    TrialStage.WIDENING: _widening,
    TrialStage.PROMOTED: _promoted,
    TrialStage.REFUSED: _refused,
    TrialStage.EQUAL: _equal,
}
