"""What a mark says is read as it was written: a trial goes on where it was, with what it had found."""

import json
from dataclasses import replace

import pytest

from meltguard.adapters.rollout_text import mark_text
from meltguard.api.rollout_mark import read_mark
from meltguard.core.comparison import Compared, Spent
from meltguard.core.seen import RolloutMark, TrialMark, TrialStage
from meltguard.core.trial import NO_PAIRS, Tally
from meltguard.core.units import Instant
from meltguard.errors import InvalidInput

TALLY = Tally(count=60, mean=-0.22, spread=0.6, last=-0.3, swings=1.2)
SPENT = (("6f7c9", Spent(busy=100.5, done=100.0)), ("7d8b4", Spent(busy=80.0, done=100.0)))
TRIAL = TrialMark(
    stage=TrialStage.WIDENING,
    template="abc",
    before=("6f7c9",),
    since=Instant(1_800_000_000.0),
    strategy="{}",
    pods=10,
    found=Compared(whole=TALLY, here=NO_PAIRS, spent=SPENT),
)
MARK = RolloutMark(policy="serving/image-gen", policy_uid="u", since=Instant(1_800_000_000.0), trial=TRIAL)


@pytest.mark.parametrize("trial", [None, replace(TRIAL, found=None, pods=1), TRIAL])
def test_a_mark_is_read_as_it_was_written(trial: TrialMark | None) -> None:
    mark = replace(MARK, trial=trial)
    assert read_mark(mark_text(mark)) == mark


def test_a_mark_of_before_there_were_shares_is_of_one_pod() -> None:
    written = json.loads(mark_text(MARK))
    del written["trial"]["pods"], written["trial"]["found"]
    trial = read_mark(json.dumps(written)).trial
    assert trial == replace(TRIAL, pods=1, found=None)


def test_figures_that_cannot_be_read_are_a_persons_matter() -> None:
    written = json.loads(mark_text(MARK))
    written["trial"]["found"]["whole"]["count"] = -1
    with pytest.raises(InvalidInput, match="remove it"):
        read_mark(json.dumps(written))
