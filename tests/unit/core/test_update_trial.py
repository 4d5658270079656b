"""An update that waits is tried on one pod; what it costs decides, and every word is written before it is acted on."""

from dataclasses import replace
from typing import Any

import pytest

from meltguard.core.policy import Level, Mode
from meltguard.core.rollout import rollouts
from meltguard.core.rollout_state import Rollouts, RolloutState, RolloutWrite
from meltguard.core.seen import PodRevision, RolloutMark, RolloutView, Snapshot, TrialMark, TrialStage
from meltguard.core.trial import Tally
from meltguard.core.units import Instant, PodUid, Share
from meltguard.core.update_trial import START_LIMIT
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
PAIRS = {
    "cheaper": Tally(count=60, mean=-0.22, spread=0.6, swings=1.2),
    "dearer": Tally(count=60, mean=0.18, spread=0.6, swings=1.2),
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
    on_the_way = stage in {TrialStage.STARTING, TrialStage.PROMOTED}
    seen: dict[str, Any] = {
        "revisions": changes.pop("revisions", pods(old=4)),
        "trial": changes.pop("counted", Tally()),
    }
    ours = {"paused": not on_the_way, "pending": stage is None, "our_strategy": stage is not None}
    view = replace(HELD, mark=mark, **{**ours, **changes})
    snapshot: Snapshot = replace(a_snapshot({FREE: 4.0}), rollout=view, **seen)
    found = rollouts(policy, at_level(level, policy), snapshot, NOW)
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
    newer = {"template": "v3", "pending": True, "paused": True}
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
    assert (gone.write, gone.replica_set) == (RolloutWrite.TAKE_BACK, "web-new")


@pytest.mark.parametrize(
    ("pairs", "write", "stage"),
    [
        ("cheaper", RolloutWrite.PROMOTE, TrialStage.PROMOTED),
        ("dearer", RolloutWrite.REFUSE, TrialStage.REFUSED),
    ],
)
def test_the_verdict_is_carried_out(pairs: str, write: RolloutWrite, stage: TrialStage) -> None:
    found = at(TrialStage.JUDGING, revisions=pods(old=3, new=1), counted=PAIRS[pairs])
    assert found.write is write
    assert found.trial is not None
    assert found.trial.stage is stage
    assert "60 samples" in found.cause


def test_an_equal_one_waits_like_any_other() -> None:
    even = Tally(count=600, mean=0.0, spread=6.0, swings=12.0)
    found = at(TrialStage.JUDGING, revisions=pods(old=3, new=1), counted=even)
    assert found.write is RolloutWrite.LEVEL
    after = at(TrialStage.EQUAL, revisions=pods(old=3, new=1))
    assert (after.state, after.write) == (RolloutState.HELD, None)
    assert "makes no difference" in after.cause


def test_what_was_refused_is_not_tried_again_but_another_update_is() -> None:
    settled = {"revisions": pods(old=4), "pending": True}
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
    stopped = stage is TrialStage.STARTING and mode is Mode.PAUSED
    assert found.write in ({RolloutWrite.JUDGE} if stopped else {RolloutWrite.RESUME, RolloutWrite.FORGET, None})
