import json

import pytest

from meltguard.api.agent_report import AgentReport, LimitSource, TierReport
from meltguard.api.grants import counters_of, document_of
from meltguard.api.limit_document import DocumentKind, LimitDocument, QuotaRule, TierState
from meltguard.core.grant import GrantKind
from meltguard.core.load import TierCounters
from meltguard.core.policy import Quota
from meltguard.core.policy import TierState as CoreTierState
from meltguard.core.quota import Period
from meltguard.core.units import Seconds, Share, Units, UnitsPerSecond
from meltguard.errors import InvalidInput
from support.grants import a_grant, a_tier_grant


def test_a_grant_survives_the_wire() -> None:
    document = LimitDocument.model_validate_json(document_of(a_grant()).model_dump_json(by_alias=True))
    assert (document.kind, document.pod_uid, document.epoch, document.revision) == (DocumentKind.ENFORCE, "pod-1", 1, 1)
    assert (document.level, document.why, document.ttl, document.pods) == ("Overloaded", "wait 9 s", 120.0, 4)
    assert (document.policy.namespace, document.policy.name, document.policy.uid) == (
        "serving",
        "image-gen",
        "policy-1",
    )
    assert document.features == {"image-edit": 5}
    (tier,) = document.tiers
    assert (tier.name, tier.state, tier.rate, tier.queue, tier.max_wait) == ("free", TierState.DELAY, 0.5, 10, 30.0)
    assert tier.quota is not None
    assert (tier.quota.images, tier.quota.time_zone) == (3, "UTC")


def test_a_document_of_an_older_operator_counts_days() -> None:
    raw = json.loads(document_of(a_grant()).model_dump_json(by_alias=True))
    assert raw["tiers"][0]["quota"].pop("per") == "day"
    (tier,) = LimitDocument.model_validate(raw).tiers
    assert tier.quota == QuotaRule(images=3, per=Period.DAY)


@pytest.mark.parametrize("period", Period)
def test_a_quotas_period_reaches_the_agent(period: Period) -> None:
    tier = a_tier_grant(quota=Quota(images=100, time_zone="Europe/Zurich", per=period))
    (limit,) = document_of(a_grant(tiers=(tier,))).tiers
    assert limit.quota == QuotaRule(images=100, per=period, time_zone="Europe/Zurich")


@pytest.mark.parametrize("kind", GrantKind)
def test_every_kind_of_grant_has_a_document(kind: GrantKind) -> None:
    assert document_of(a_grant(kind=kind)).kind.value == kind.value


@pytest.mark.parametrize("state", CoreTierState)
def test_every_state_of_a_tier_has_a_wire_word(state: CoreTierState) -> None:
    (tier,) = document_of(a_grant(tiers=(a_tier_grant(state=state),))).tiers
    assert tier.state.value == state.value


def test_a_baseline_is_for_no_pod_and_never_ends() -> None:
    tier = a_tier_grant(rate=None, safe_rate=UnitsPerSecond(0.25), quota=None, since=None)
    document = document_of(a_grant(pod=None, kind=GrantKind.BASELINE, ttl=None, pods=0, tiers=(tier,)))
    assert (document.pod_uid, document.ttl, document.pods) == ("", None, 1)
    assert (document.tiers[0].rate, document.tiers[0].safe_rate, document.tiers[0].quota) == (None, 0.25, None)


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0, 1e308])
def test_a_rate_that_is_none_never_reaches_an_agent(rate: float) -> None:
    with pytest.raises(InvalidInput, match=r"serving/image-gen .* rate"):
        document_of(a_grant(tiers=(a_tier_grant(rate=UnitsPerSecond(rate)),)))


def test_a_report_becomes_counters_in_image_units() -> None:
    tier = TierReport(
        offered=4,
        offered_units=9.0,
        offered_squares=21.0,
        admitted=3,
        admitted_units=6.0,
        refused={"over-rate": 2, "queue-full": 1},
        waiting=1,
        waiting_units=2.5,
        wait_p99=1.25,
    )
    counters = counters_of(
        AgentReport(
            pod_uid="pod-1",
            instance="i",
            sequence=7,
            uptime=60.0,
            source=LimitSource.LEASE,
            epoch=2,
            revision=5,
            gpus=2,
            busy_gpu_seconds=30.0,
            units_done=6.0,
            in_flight=1,
            in_flight_units=1.5,
            tiers={"free": tier},
        )
    )
    assert (counters.leased, counters.epoch, counters.revision, counters.gpus) == (True, 2, 5, 2)
    assert (counters.busy, counters.done, counters.in_flight, counters.sequence) == (30.0, 6.0, 1.5, 7)
    assert counters.tiers == {
        "free": TierCounters(
            offered=Units(9.0), admitted=Units(6.0), waiting=Units(2.5), refused=3, squares=21.0, wait_p99=Seconds(1.25)
        )
    }


@pytest.mark.parametrize("source", [LimitSource.BASELINE, LimitSource.OWN_GPU])
def test_only_a_live_lease_counts_as_leased(source: LimitSource) -> None:
    assert not counters_of(AgentReport(pod_uid="p", instance="i", uptime=1.0, source=source)).leased


def test_a_floor_goes_over_the_wire_and_older_operators_name_none() -> None:
    document = document_of(a_grant(tiers=(a_tier_grant(floor=Share(0.1)),)))
    raw = json.loads(document.model_dump_json(by_alias=True))
    assert raw["tiers"][0].pop("floor") == 0.1
    (tier,) = LimitDocument.model_validate(raw).tiers
    assert tier.floor == 0.0
