"""What a rehearsal came to, in numbers: by tier, and for the lenders."""

from meltguard.api.wire import MessageModel
from meltguard.controller.events import Reason
from meltguard.core.policy import Level, Policy
from meltguard.core.units import Share, TierName, UnitsPerSecond
from meltguard.rehearse.rehearsal import Rehearsal, own_rate
from meltguard.rehearse.story import first
from meltguard.rehearse.users import mean_units
from meltguard.sim.ledger import TURN, WITHIN, Ledger, TierSums, quantile, reversals

MEDIAN, NEARLY_ALL = Share(0.5), Share(0.99)


class TierFigures(MessageModel):
    """One tier. Waits are of the requests that were admitted, from asking until the work on them began."""

    tier: str
    asked: int
    """Requests."""
    served: int
    """Requests that were admitted; a few of them were still running at the end."""
    shed: int
    """Requests that were refused, or left after waiting for their tier's maxWait."""
    shed_share: float
    """Of those asked, 0 to 1."""
    images: int
    """Image units that were made."""
    p50: float
    """Seconds waited, median."""
    p99: float
    """Seconds waited, 99 in 100 no longer."""


class Figures(MessageModel):
    """The whole rehearsal. Times are seconds since the start, null where it never came to that."""

    tiers: tuple[TierFigures, ...]
    first_limit: float | None
    first_loan: float | None
    """When the first node was claimed."""
    first_lent: float | None
    """When the first node opened for the service."""
    loans: int
    """Nodes that were lent, each time counted."""
    most_lent: int
    """At once."""
    not_home: int
    """Nodes still away at the end."""
    borrowed: float
    """GPU-hours."""
    work_lost: float
    """GPU-hours of lenders' work since its last checkpoint, broken off by loans."""
    broken_off: int
    """Times that a Job of a lender was broken off."""
    turns: int
    """Times that a tier's limit changed direction within a minute of the change before."""
    worst_level: str


def figures_of(rehearsal: Rehearsal) -> Figures:
    """All numbers of one rehearsal."""
    told, ledger, plan = rehearsal.told, rehearsal.ledger, rehearsal.plan
    does = own_rate(plan.manifests, plan.fleet) * mean_units(plan.fleet.service)
    return Figures(
        tiers=tuple(_tier(tier.name, ledger.tiers[tier.name]) for tier in plan.policy.tiers),
        first_limit=first(told, Reason.TIER_LIMITED),
        first_loan=first(told, Reason.NODE_BORROWED),
        first_lent=first(told, Reason.NODE_LENT),
        loans=sum(one.reason is Reason.NODE_LENT for one in told),
        most_lent=max((frame.lent for frame in rehearsal.frames), default=0),
        not_home=rehearsal.out,
        borrowed=rehearsal.borrowed,
        work_lost=rehearsal.work_lost,
        broken_off=rehearsal.broken_off,
        turns=_turns(ledger, plan.policy, UnitsPerSecond(does)),
        worst_level=max((sample.level for sample in ledger.samples), default=Level.NORMAL).label,
    )


def _tier(name: TierName, sums: TierSums) -> TierFigures:
    waits = sorted(wait for _, wait in sums.waits)  # once for both of its quantiles
    return TierFigures(
        tier=name,
        asked=sums.offered,
        served=sums.admitted,
        shed=sums.refused,
        shed_share=sums.refused / sums.offered if sums.offered else 0.0,
        images=round(sums.done_units),
        p50=quantile(waits, MEDIAN),
        p99=quantile(waits, NEARLY_ALL),
    )


def _turns(ledger: Ledger, policy: Policy, does: UnitsPerSecond) -> int:
    least = UnitsPerSecond(TURN * does)
    return sum(reversals(ledger.samples, tier.name, least, WITHIN, does) for tier in policy.tiers)
