"""A refusal, from what stands against a request and the limits that it met."""

from collections.abc import Mapping
from typing import NamedTuple

from meltguard.agent.gate import Hindrance
from meltguard.agent.quota_asks import Denial
from meltguard.agent.refusal import Reason, Refusal, status_of
from meltguard.agent.visit import Visit
from meltguard.core.units import Instant, Seconds


class Told(NamedTuple):
    """What the client is told of its limits."""

    fields: Mapping[str, str]
    spent_for: Seconds  # no limit among them is used up after this


def refusal_of(visit: Visit, hindrance: Hindrance, denial: Denial | None, told: Told) -> Refusal:
    """What to tell a client whose request was hindered, or denied by its own allowance."""
    rule, why, wait = visit.rule, visit.rule.why, hindrance.wait
    if hindrance.reason is Reason.FEATURE_SLOWED:
        share = visit.standing.features[visit.ask.feature]
        why = f"level {visit.standing.level} leaves feature {visit.ask.feature} to {share}% of users"
    return Refusal(
        reason=hindrance.reason,
        tier=visit.tier,
        status=status_of(hindrance.reason, rule.shed_status),
        wait=None if wait is None else Seconds(max(wait, told.spent_for)),
        reset=denial.reset if denial is not None else None,
        message=rule.message,
        why=why,
        since=Instant(rule.since) if rule.since is not None else None,
        headers=told.fields,
    )
