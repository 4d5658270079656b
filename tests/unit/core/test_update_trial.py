"""An update that waits is tried on one pod; what it costs decides, and every word is written before it is acted on."""

from dataclasses import replace
from typing import Any

import pytest

from meltguard.core.comparison import Compared, Spent
from meltguard.core.policy import Level, Mode
from meltguard.core.rollout import rollouts
from meltguard.core.rollout_state import Resize, Rollouts, RolloutState, RolloutWrite
from meltguard.core.seen import PodRevision, RolloutMark, RolloutView, Snapshot, TrialMark, TrialStage
from meltguard.core.trial import NO_PAIRS, Tally
from meltguard.core.units import Instant, PodUid, Share
from meltguard.core.update_shares import START_LIMIT
from meltguard.core.update_trial import STAGE_LIMIT
from support.core_values import FREE, a_policy, a_snapshot, at_level

NOW = Instant(10_000.0)
POLICY = replace(a_policy(), hold_at=Level.OVERLOADED, cheaper_by=Share(0.05))
TRIAL = TrialMark(
    stage=TrialStage.STARTING,
    template="v2",
    before=("old",),
    since=Instant(NOW - 60),
    strategy='{"type":"RollingUpdate"}',
)
HELD = RolloutView(paused=True, mark=None, template="v2", strategy=TRIAL.strategy, pending=True)
CHEAPER = Tally(count=60, mean=-0.22, spread=0.6, swings=1.2)
DEARER = Tally(count=60, mean=0.18, spread=0.6, swings=1.2)
SPENT = (("old", Spent(busy=100.0, done=100.0)), ("new", Spent(busy=80.0, done=100.0)))
PAIRS = {
    "cheaper": Compared(whole=CHEAPER, here=CHEAPER, spent=SPENT),
    "dearer": Compared(whole=DEARER, here=DEARER, spent=SPENT),
    "cheaper so far": Compared(whole=CHEAPER, here=NO_PAIRS, spent=SPENT),
    "dearer here": Compared(whole=CHEAPER, here=DEARER, spent=SPENT),
}


def pods(**revisions: int) -> dict[PodUid, PodRevision]:
    return {
        PodUid(f"{name}-{n}"): PodRevision(revision=name, replica_set=f"web-{name}", ready=True)
        for name, count in revisions.items()
        for n in range(count)
    }


def at(stage: TrialStage | None, level: Level = Level.CRITICAL, policy: Any = POLICY, **changes: Any) -> Rollouts:
    """What is decided while a trial stands at this stage; changes of the view and of what is seen."""
    trial = None if stage is None else replace(TRIAL, stage=stage, **changes.pop("trial", {}))
    mark = RolloutMark(policy=POLICY.key, policy_uid=POLICY.uid, since=Instant(900.0), trial=trial)
    on_the_way = stage in {TrialStage.STARTING, TrialStage.WIDENING, TrialStage.PROMOTED}
    seen: dict[str, Any] = {
        "revisions": changes.pop("revisions", pods(old=4)),
        "trial": changes.pop("counted", Compared()),
        "started": changes.pop("started", {}),
    }
    ours = {"paused": not on_the_way, "pending": stage is None, "our_strategy": stage is not None}
    view = replace(HELD, mark=mark, **{**ours, "replicas": len(seen["revisions"]), **changes})
    snapshot: Snapshot = replace(a_snapshot({FREE: 4.0}), rollout=view, **seen)
    found = rollouts(policy, at_level(level, policy), snapshot, None, NOW)
    assert found is not None
    return found


def test_what_waits_is_tried_on_one_pod() -> None:
    found = at(None)
    assert (found.state, found.write) == (RolloutState.TRYING, RolloutWrite.TRY)
    assert found.trial == replace(TRIAL, since=NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"pending": False},  # nothing waits
        {"revisions": pods(old=1)},  # nothing to spare
        {"strategy": ""},  # all pods at once
        {"policy": replace(POLICY, cheaper_by=None)},  # switched off
        {"revisions": {**pods(old=4), PodUid("x"): PodRevision(revision="old", replica_set="web-old", ready=False)}},
    ],
)
def test_otherwise_it_just_waits(changes: dict[str, Any]) -> None:
    found = at(None, **changes)
    assert (found.state, found.write) == (RolloutState.HELD, None)


def test_who_writes_the_strategy_anew_is_not_fought() -> None:
    """A GitOps tool puts its own back: more pods than one could start, so none does; what it wrote stays."""
    found = at(TrialStage.STARTING, our_strategy=False)
    assert (found.write, found.trial and found.trial.stage) == (RolloutWrite.REFUSE, TrialStage.REFUSED)
    assert "someone wrote the strategy anew" in found.cause
    going_on = at(TrialStage.PROMOTED, our_strategy=False)
    assert (going_on.state, going_on.write) == (RolloutState.PROMOTED, None)
    assert "in the way that someone wrote meanwhile" in going_on.cause


def test_the_next_trial_remembers_the_strategy_that_its_owner_wrote_last() -> None:
    newer: dict[str, Any] = {"template": "v3", "pending": True, "paused": True}
    theirs = at(TrialStage.REFUSED, our_strategy=False, strategy='{"type":"RollingUpdate","rollingUpdate":{}}', **newer)
    assert theirs.trial is not None
    assert theirs.trial.strategy == '{"type":"RollingUpdate","rollingUpdate":{}}'
    ours = at(TrialStage.REFUSED, strategy='{"what":"ours"}', **newer)
    assert ours.trial is not None
    assert ours.trial.strategy == TRIAL.strategy


def test_once_a_pod_of_it_is_there_no_other_follows() -> None:
    assert at(TrialStage.STARTING).write is None
    started = at(TrialStage.STARTING, revisions=pods(old=3, new=1))
    assert started.write is RolloutWrite.JUDGE
    assert started.trial is not None
    assert (started.trial.stage, started.trial.strategy) == (TrialStage.JUDGING, TRIAL.strategy)


def test_what_does_not_start_is_taken_back() -> None:
    late = {"since": Instant(NOW - START_LIMIT - 1)}
    unready = {**pods(old=3), PodUid("n"): PodRevision(revision="new", replica_set="web-new", ready=False)}
    for stage in (TrialStage.STARTING, TrialStage.JUDGING):
        left = unready if stage is TrialStage.JUDGING else pods(old=3)
        assert at(stage, trial=late, revisions=left).write is RolloutWrite.REFUSE
        assert at(stage, revisions=left).write is None
    gone = at(TrialStage.REFUSED, revisions=unready)
    assert (gone.write, gone.resize) == (RolloutWrite.TAKE_BACK, Resize(replica_set="web-new", pods=0))


@pytest.mark.parametrize(
    ("pairs", "write", "stage"),
    [
        ("cheaper", RolloutWrite.WIDEN, TrialStage.WIDENING),
        ("dearer", RolloutWrite.REFUSE, TrialStage.REFUSED),
    ],
)
def test_the_verdict_is_carried_out_and_its_figures_are_written_down(
    pairs: str, write: RolloutWrite, stage: TrialStage
) -> None:
    found = at(TrialStage.JUDGING, revisions=pods(old=3, new=1), counted=PAIRS[pairs])
    assert found.write is write
    assert found.trial is not None
    assert (found.trial.stage, found.trial.found, found.figures) == (stage, PAIRS[pairs], PAIRS[pairs])
    assert "(60 samples); 1.25 images a GPU-second, 1.00 before" in found.cause


def test_it_goes_on_share_by_share() -> None:
    """Of twenty pods: one, two, ten, all; each count of pods is written before a pod more starts."""
    for now, wider in ((1, 2), (2, 10)):
        found = at(TrialStage.JUDGING, revisions=pods(old=20 - now, new=now), counted=PAIRS["cheaper"])
        assert (found.write, found.trial and found.trial.pods) == (RolloutWrite.WIDEN, wider)
        assert f"goes on to {wider} pods of 20" in found.cause
    half = at(TrialStage.JUDGING, revisions=pods(old=10, new=10), counted=PAIRS["cheaper"])
    assert (half.state, half.write) == (RolloutState.PROMOTED, RolloutWrite.PROMOTE)
    few = at(TrialStage.JUDGING, revisions=pods(old=2, new=1), counted=PAIRS["cheaper"])
    assert few.write is RolloutWrite.PROMOTE, "of three pods none is between the first and all"


def test_pods_start_up_to_the_share_and_are_held_there() -> None:
    wide: dict[str, Any] = {"trial": {"pods": 10}}
    going = at(TrialStage.WIDENING, revisions=pods(old=11, new=9), **wide)
    assert (going.state, going.write) == (RolloutState.TRYING, None)
    assert "goes on to 10 pods, 9 run it" in going.cause
    there = at(TrialStage.WIDENING, revisions=pods(old=10, new=10), counted=PAIRS["cheaper"], **wide)
    assert there.write is RolloutWrite.JUDGE
    assert there.trial is not None
    assert (there.trial.stage, there.trial.pods, there.trial.found) == (TrialStage.JUDGING, 10, PAIRS["cheaper"])


def test_a_share_has_pairs_of_its_own_and_all_its_pods_before_the_next() -> None:
    half: dict[str, Any] = {"trial": {"pods": 2}}
    none_yet = at(TrialStage.JUDGING, revisions=pods(old=18, new=2), counted=PAIRS["cheaper so far"], **half)
    assert (none_yet.state, none_yet.write) == (RolloutState.TRYING, None)
    loading = {**pods(old=18, new=1), PodUid("n"): PodRevision(revision="new", replica_set="web-new", ready=False)}
    assert at(TrialStage.JUDGING, revisions=loading, counted=PAIRS["cheaper"], **half).write is None


@pytest.mark.parametrize("stage", [TrialStage.JUDGING, TrialStage.WIDENING, TrialStage.PROMOTED])
@pytest.mark.parametrize("pairs", ["dearer", "dearer here"])
def test_what_turns_out_dearer_is_taken_back_at_any_share(stage: TrialStage, pairs: str) -> None:
    found = at(stage, revisions=pods(old=15, new=5), trial={"pods": 10}, counted=PAIRS[pairs])
    assert (found.write, found.trial and found.trial.stage) == (RolloutWrite.REFUSE, TrialStage.REFUSED)
    assert "taken back" in found.cause


@pytest.mark.parametrize("stage", [TrialStage.JUDGING, TrialStage.WIDENING, TrialStage.PROMOTED])
def test_pods_that_do_not_become_ready_are_taken_back_at_any_share(stage: TrialStage) -> None:
    loading = {**pods(old=15, new=4), PodUid("n"): PodRevision(revision="new", replica_set="web-new", ready=False)}
    late: dict[str, Any] = {"since": Instant(NOW - START_LIMIT - 1), "pods": 10}
    assert at(stage, revisions=loading, trial=late).write is RolloutWrite.REFUSE
    anew = {PodUid("n"): Instant(NOW - 60)}
    assert at(stage, revisions=loading, trial=late, started=anew).write is None, "it has only just been moved"


@pytest.mark.parametrize("stage", [TrialStage.JUDGING, TrialStage.WIDENING])
def test_a_share_without_a_verdict_ends_by_a_bound_and_the_update_waits(stage: TrialStage) -> None:
    late = {"since": Instant(NOW - STAGE_LIMIT - 1), "pods": 10}
    found = at(stage, revisions=pods(old=15, new=5), trial=late)
    assert (found.write, found.trial and found.trial.stage) == (RolloutWrite.LEVEL, TrialStage.EQUAL)


@pytest.mark.parametrize("changes", [{"paused": True}, {"our_strategy": False}])
def test_who_pauses_it_or_writes_the_strategy_between_shares_is_obeyed(changes: dict[str, Any]) -> None:
    found = at(TrialStage.WIDENING, revisions=pods(old=15, new=5), trial={"pods": 10}, **changes)
    assert (found.write, found.trial and found.trial.stage) == (RolloutWrite.LEVEL, TrialStage.EQUAL)
    assert "someone" in found.cause


def test_no_share_follows_once_someone_wrote_the_strategy_anew() -> None:
    found = at(TrialStage.JUDGING, revisions=pods(old=3, new=1), counted=PAIRS["cheaper"], our_strategy=False)
    assert (found.write, found.trial and found.trial.stage) == (RolloutWrite.LEVEL, TrialStage.EQUAL)


def test_an_equal_one_waits_like_any_other() -> None:
    even = Tally(count=600, mean=0.0, spread=6.0, swings=12.0)
    compared = Compared(whole=even, here=even, spent=SPENT)
    found = at(TrialStage.JUDGING, revisions=pods(old=3, new=1), counted=compared)
    assert found.write is RolloutWrite.LEVEL
    assert "makes no difference" in found.cause
    after = at(TrialStage.EQUAL, revisions=pods(old=3, new=1), trial={"found": compared})
    assert (after.state, after.write) == (RolloutState.HELD, None)
    assert "waits on 1 pod" in after.cause


@pytest.mark.parametrize("stage", [TrialStage.PROMOTED, TrialStage.REFUSED, TrialStage.EQUAL])
def test_the_figures_stay_after_the_verdict(stage: TrialStage) -> None:
    found = at(stage, revisions=pods(old=3, new=1), trial={"found": PAIRS["cheaper"]})
    assert found.figures == PAIRS["cheaper"]
    assert "1.25 images a GPU-second, 1.00 before" in found.cause


def test_what_was_refused_is_not_tried_again_but_another_update_is() -> None:
    settled: dict[str, Any] = {"revisions": pods(old=4), "pending": True}
    assert at(TrialStage.REFUSED, **settled).write is None
    another = at(TrialStage.REFUSED, template="v3", **settled)
    assert another.write is RolloutWrite.TRY
    assert another.trial is not None
    assert another.trial.template == "v3"
    assert another.trial.strategy == TRIAL.strategy, "the owner's strategy is lost"


@pytest.mark.parametrize("stage", [TrialStage.STARTING, TrialStage.JUDGING])
def test_another_update_in_the_middle_ends_the_trial(stage: TrialStage) -> None:
    found = at(stage, template="v3", revisions=pods(old=3, new=1))
    assert found.write is RolloutWrite.REFUSE


@pytest.mark.parametrize("stage", [TrialStage.WIDENING, TrialStage.PROMOTED])
def test_an_update_after_one_that_goes_on_is_held_and_tried_for_itself(stage: TrialStage) -> None:
    """What is better so far is not taken back for it, and nothing of the next starts untried."""
    newer: dict[str, Any] = {"template": "v3", "revisions": pods(old=3, new=1)}
    found = at(stage, **newer)
    assert (found.write, found.trial and found.trial.stage) == (RolloutWrite.LEVEL, TrialStage.EQUAL)
    tried = at(TrialStage.EQUAL, pending=True, **newer)
    assert (tried.write, tried.trial and tried.trial.before) == (RolloutWrite.TRY, ("new", "old"))
    theirs = at(TrialStage.PROMOTED, paused=True, pending=True, **newer)
    assert (theirs.state, theirs.write) == (RolloutState.HELD, None), "a person paused it"


@pytest.mark.parametrize("stage", [TrialStage.JUDGING, TrialStage.EQUAL, TrialStage.REFUSED])
def test_a_person_who_resumes_it_is_obeyed(stage: TrialStage) -> None:
    found = at(stage, paused=False, revisions=pods(old=3, new=1))
    assert (found.state, found.write) == (RolloutState.LEFT_ALONE, None)


@pytest.mark.parametrize("stage", [*TrialStage, None])
def test_when_the_level_falls_updates_go_on_whatever_was_tried(stage: TrialStage | None) -> None:
    found = at(stage, level=Level.NORMAL, revisions=pods(old=3, new=1))
    assert found.write in {RolloutWrite.RESUME, RolloutWrite.FORGET}


@pytest.mark.parametrize("stage", [*TrialStage, None])
@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.PAUSED])
def test_only_a_policy_that_enforces_tries(stage: TrialStage | None, mode: Mode) -> None:
    """What has started is stopped where the policy is paused: else it would go on and on."""
    found = at(stage, policy=replace(POLICY, mode=mode), revisions=pods(old=3, new=1))
    stopped = stage in {TrialStage.STARTING, TrialStage.WIDENING} and mode is Mode.PAUSED
    assert found.write in ({RolloutWrite.JUDGE} if stopped else {RolloutWrite.RESUME, RolloutWrite.FORGET, None})
