"""From what stands against a visit to the refusal that says so."""

from meltguard.agent.placing import Hindrance
from meltguard.agent.refusal import Reason, Refusal, status_of
from meltguard.agent.visit import Visit
from meltguard.core.units import Instant


def refusal_of(visit: Visit, hindrance: Hindrance, reset: Instant | None) -> Refusal:
    """In the words of the tier's rule; `reset` is when a user's allowance begins anew."""
    rule, why = visit.rule, visit.rule.why
    if hindrance.reason is Reason.FEATURE_SLOWED:
        share = visit.standing.features[visit.ask.feature]
        why = f"level {visit.standing.level} leaves feature {visit.ask.feature} to {share}% of users"
    return Refusal(
        reason=hindrance.reason,
        tier=visit.tier,
        status=status_of(hindrance.reason, rule.shed_status),
        wait=hindrance.wait,
        reset=reset,
        message=rule.message,
        why=why,
        since=Instant(rule.since) if rule.since is not None else None,
    )
