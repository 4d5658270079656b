"""A refusal, from what stands against a request and the limits that it met."""

from collections.abc import Mapping
from typing import NamedTuple

from meltguard.agent.gate import Hindrance
from meltguard.agent.quota_asks import Denial
from meltguard.agent.rates import binds
from meltguard.agent.refusal import EXHAUSTED_BY, FOR_CAPACITY, THIS_POD_S_LINE, Reason, Refusal, status_of
from meltguard.agent.visit import Visit
from meltguard.api.limit_document import TierLimit
from meltguard.core.units import Instant, Seconds


class Told(NamedTuple):
    """What the client is told of its limits."""

    fields: Mapping[str, str]
    spent_for: Seconds  # no limit among them is used up after this
    rule: TierLimit  # of its tier, as it is now: another one may have come while it waited


class Cause(NamedTuple):
    """The operator's words for the limit that a request met."""

    why: str = ""
    since: Instant | None = None
    lifts_when: str = ""
    until: Instant | None = None


def refusal_of(visit: Visit, hindrance: Hindrance, denial: Denial | None, told: Told) -> Refusal:
    """What to tell a client whose request was hindered, or denied by its own allowance."""
    rule, wait, cause = visit.rule, hindrance.wait, _cause(visit, hindrance.reason, told.rule)
    return Refusal(
        reason=hindrance.reason,
        tier=visit.tier,
        status=status_of(hindrance.reason, rule.shed_status),
        wait=None if wait is None else Seconds(max(wait, told.spent_for)),
        reset=denial.reset if denial is not None else None,
        detail="" if denial is None else _left(visit, denial),
        message=rule.message,
        why=cause.why,
        since=cause.since,
        lifts_when=cause.lifts_when,
        until=cause.until,
        elsewhere=_may_pass_elsewhere(visit, hindrance.reason, told.rule),
        headers=told.fields,
    )


def _cause(visit: Visit, reason: Reason, rule: TierLimit) -> Cause:
    if reason is Reason.FEATURE_SLOWED:
        return _of_feature(visit)
    if reason not in FOR_CAPACITY or not rule.why:
        return Cause()
    return Cause(rule.why, _instant(rule.since), rule.lifts_when, _instant(rule.until))


def _may_pass_elsewhere(visit: Visit, reason: Reason, rule: TierLimit) -> bool:
    """Whether another pod may take it at once.

    A limited tier is so at every pod, and has its share of each. What was set aside for a request is given back beside
    the answer, not before it: another pod that is asked so soon might take it for one that still runs.
    """
    if visit.reservation is not None:
        return False
    return reason is Reason.STOPPING or (reason in THIS_POD_S_LINE and not binds(rule))


def _of_feature(visit: Visit) -> Cause:
    feature = visit.ask.feature
    slowed = visit.standing.slowed.get(feature)
    if slowed is None:  # no more users have it on a calm day either, or an older operator says no more
        return Cause(f"feature {feature} is open to {visit.standing.features[feature]}% of users")
    return Cause(slowed.cause, _instant(slowed.since), slowed.lifts_when, _instant(slowed.until))


def _left(visit: Visit, denial: Denial) -> str:
    """What an allowance still has, where it is not all used up."""
    allowance = denial.allowance
    if allowance is None or denial.reason is not EXHAUSTED_BY[allowance.period]:
        return ""
    left, asks, period = allowance.limit - allowance.used, visit.images, allowance.period.value
    if asks > allowance.limit:
        return f"this request asks for {asks} images, and a {period} has {allowance.limit} in all"
    return (
        f"{left} of the {allowance.limit} images of this {period} are left, this request asks for {asks}"
        if left > 0
        else ""
    )


def _instant(at: float | None) -> Instant | None:
    return None if at is None else Instant(at)
