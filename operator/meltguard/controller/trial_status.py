"""An update's trial, as the status tells it."""

from meltguard.api.policy_status import CostStatus, RevisionStatus, TrialStatus
from meltguard.clock import rfc3339
from meltguard.core.comparison import Compared
from meltguard.core.rollout_state import Rollouts
from meltguard.core.trial import FEWEST, Tally


def trial_status(held: Rollouts) -> TrialStatus | None:
    """None where there is no trial. Its figures are those of now, after its verdict those of the verdict."""
    trial = held.trial
    if trial is None:
        return None
    found = held.figures
    return TrialStatus(
        stage=trial.stage,
        since=rfc3339(trial.since),
        pods=trial.pods,
        cost=None if found is None else _cost(found.whole),
        cost_here=None if found is None or found.here.count == found.whole.count else _cost(found.here),
        revisions=() if found is None else _revisions(found, trial.before),
    )


def _cost(tally: Tally) -> CostStatus:
    if tally.count < FEWEST:
        return CostStatus(samples=tally.count)
    least, mean, most = (f"{100.0 * change:+.0f}%" for change in tally.change)
    return CostStatus(samples=tally.count, least=least, mean=mean, most=most)


def _revisions(found: Compared, before: tuple[str, ...]) -> tuple[RevisionStatus, ...]:
    rates = [(name, spent.rate) for name, spent in found.spent]
    return tuple(
        RevisionStatus(revision=name, update=name not in before, images_per_gpu_second=f"{rate:.3f}")
        for name, rate in rates
        if rate is not None
    )
