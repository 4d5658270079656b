"""Between the decision's words and the agents' wire: a grant goes out as a document, counters come back as a report."""

from pydantic import ValidationError

from meltguard.api.agent_report import AgentReport, LimitSource, TierReport
from meltguard.api.limit_document import (
    DocumentKind,
    LimitDocument,
    PolicyRef,
    QuotaRule,
    SlowedFeature,
    TierLimit,
    TierState,
)
from meltguard.core.decision import FeatureShare
from meltguard.core.grant import Grant, TierGrant
from meltguard.core.load import AgentCounters, TierCounters
from meltguard.core.policy import Quota
from meltguard.core.units import Gpus, PodUid, Revision, Seconds, TierName, Units, UnitsPerSecond
from meltguard.errors import InvalidInput


def document_of(grant: Grant) -> LimitDocument:
    """The document that says a grant.

    Raises:
        InvalidInput: a number of the grant is outside what a document may hold; the text names it.
    """
    try:
        return LimitDocument(
            kind=DocumentKind(grant.kind.value),
            policy=PolicyRef(namespace=grant.namespace, name=grant.policy, uid=grant.policy_uid),
            pod_uid=grant.pod or "",
            epoch=grant.epoch,
            revision=grant.revision,
            issued_at=grant.issued_at,
            ttl=grant.ttl,
            level=grant.level.label,
            why=grant.why,
            pods=max(1, grant.pods),
            tiers=tuple(map(_tier_limit, grant.tiers)),
            features=dict(grant.features),
            slowed={one.name: _slowed(one) for one in grant.slowed},
            lifts_when=grant.lifts_when,
            heat=grant.heat,
        )
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(
            f"the limits of {grant.namespace}/{grant.policy} do not fit a document: {where}: {first['msg']}, "
            f"found {first['input']!r}; check the policy's maxima and quotas"
        ) from exc


def _tier_limit(tier: TierGrant) -> TierLimit:
    quota = tier.quota
    return TierLimit(
        name=tier.name,
        priority=tier.priority,
        state=TierState(tier.state.value),
        rate=tier.rate,
        burst=tier.burst,
        concurrency=tier.concurrency,
        queue=tier.queue,
        max_wait=tier.max_wait,
        shed_status=tier.shed_status,
        max_rate=tier.max_rate,
        quota=_quota(quota) if quota else None,
        message=tier.message,
        why=tier.why,
        since=tier.since,
        safe_rate=tier.safe_rate,
        floor=tier.floor,
        lifts_when=tier.lifts_when,
        until=tier.until,
    )


def _slowed(one: FeatureShare) -> SlowedFeature:
    return SlowedFeature(share=one.share, cause=one.cause, since=one.since, lifts_when=one.lifts_when, until=one.until)


def counters_of(report: AgentReport) -> AgentCounters:
    """What an agent's report counts."""
    return AgentCounters(
        pod=PodUid(report.pod_uid),
        instance=report.instance,
        sequence=report.sequence,
        uptime=Seconds(report.uptime),
        leased=report.source is LimitSource.LEASE,
        epoch=report.epoch,
        revision=Revision(report.revision),
        gpus=Gpus(report.gpus),
        busy=Seconds(report.busy_gpu_seconds),
        done=Units(report.units_done),
        in_flight=Units(report.in_flight_units),
        quota_store=report.quota_store,
        tiers={TierName(name): _tier_counters(tier) for name, tier in report.tiers.items()},
    )


def _tier_counters(tier: TierReport) -> TierCounters:
    return TierCounters(
        offered=Units(tier.offered_units),
        barred=Units(tier.barred_units),
        admitted=Units(tier.admitted_units),
        waiting=Units(tier.waiting_units),
        refused=sum(tier.refused.values()),
        squares=tier.offered_squares,
        wait_p99=Seconds(tier.wait_p99),
        for_gpu=None if tier.waiting_for_gpu_units is None else Units(tier.waiting_for_gpu_units),
        rate=None if tier.rate is None else UnitsPerSecond(tier.rate),
    )


def _quota(quota: Quota) -> QuotaRule:
    return QuotaRule(images=quota.images, per=quota.per, time_zone=quota.time_zone, when_uncounted=quota.when_uncounted)
