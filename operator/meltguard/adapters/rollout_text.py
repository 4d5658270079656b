"""A mark as it stands on a workload."""

from meltguard.api.rollout_mark import ComparedText, RolloutMarkText, SpentText, TallyText, TrialMarkText, write_mark
from meltguard.clock import rfc3339
from meltguard.core.comparison import Compared
from meltguard.core.seen import RolloutMark, TrialMark
from meltguard.core.trial import Tally


def mark_text(mark: RolloutMark) -> str:
    """The annotation's text."""
    trial = None if mark.trial is None else _trial(mark.trial)
    text = RolloutMarkText(policy=mark.policy, uid=mark.policy_uid, since=rfc3339(mark.since), trial=trial)
    return write_mark(text)


def _trial(trial: TrialMark) -> TrialMarkText:
    return TrialMarkText(
        stage=trial.stage,
        template=trial.template,
        before=trial.before,
        since=rfc3339(trial.since),
        strategy=trial.strategy,
        pods=trial.pods,
        found=None if trial.found is None else _compared(trial.found),
    )


def _compared(found: Compared) -> ComparedText:
    spent = [SpentText(revision=name, busy=round(one.busy, 3), done=round(one.done, 3)) for name, one in found.spent]
    return ComparedText(whole=_tally(found.whole), here=_tally(found.here), spent=tuple(spent))


def _tally(tally: Tally) -> TallyText:
    return TallyText(
        count=tally.count,
        mean=round(tally.mean, 9),
        spread=round(tally.spread, 9),
        last=round(tally.last, 9),
        swings=round(tally.swings, 9),
    )
