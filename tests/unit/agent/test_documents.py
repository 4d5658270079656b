from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.agent.documents import DocumentRefused, Documents, Identity, Remembered
from meltguard.agent.settings import Pace, PolicyKey
from meltguard.api.agent_report import LimitSource
from meltguard.api.limit_document import DocumentKind, LimitDocument, PolicyRef
from meltguard.core.units import Instant, PodUid, Seconds, TierName
from support.agents import FREE, PLUS, POD, POLICY, a_baseline, a_free_tier, a_lease

NOW = Instant(1_800_000_000.0)
START = Seconds(50.0)
IDENTITY = Identity(policy=PolicyKey(POLICY.namespace, POLICY.name), pod_uid=POD, default_tier=TierName("default"))
SAFE = FREE.model_copy(update={"safe_rate": 1.0, "max_rate": 12.0})


def documents(remembered: Remembered | None = None) -> Documents:
    return Documents(IDENTITY, Pace(), remembered or Remembered(), START)


def lease(**changes: Any) -> LimitDocument:
    return a_lease(**{"issued_at": NOW, **changes})


def baseline(**changes: Any) -> LimitDocument:
    tiers = changes.pop("tiers", (SAFE,))
    return a_baseline(*tiers, **{"issued_at": NOW - 1000, "pods": 4, **changes})


def take(held: Documents, document: LimitDocument, at: float = START) -> None:
    held.take(document, NOW, Seconds(at))


def source(held: Documents, at: float = START) -> LimitSource:
    return held.standing(Seconds(at)).source


OTHER_POLICY = PolicyRef(namespace="serving", name="other", uid="policy-1")
REFUSED: dict[str, tuple[LimitDocument, HTTPStatus, str]] = {
    "another pod": (lease(pod_uid="pod-2"), HTTPStatus.FORBIDDEN, "podUid"),
    "no pod": (lease(pod_uid=""), HTTPStatus.FORBIDDEN, "podUid"),
    "another policy": (lease(policy=OTHER_POLICY), HTTPStatus.FORBIDDEN, "policy"),
    "signed too long ago": (lease(issued_at=NOW - 61, epoch=2, revision=9), HTTPStatus.CONFLICT, "issuedAt"),
    "signed in the future": (lease(issued_at=NOW + 61, epoch=2, revision=9), HTTPStatus.CONFLICT, "issuedAt"),
    "a lower revision": (lease(revision=4), HTTPStatus.CONFLICT, "revision"),
    "a lower epoch": (lease(epoch=1, revision=99), HTTPStatus.CONFLICT, "revision"),
    "a baseline": (baseline(), HTTPStatus.BAD_REQUEST, "kind"),
    "a tier named twice": (lease(epoch=2, revision=9, tiers=(FREE, FREE)), HTTPStatus.BAD_REQUEST, "tiers"),
    "no such zone": (
        lease(epoch=2, revision=9, tiers=(a_free_tier(quota={"images": 3, "time_zone": "Mars/Base"}),)),
        HTTPStatus.BAD_REQUEST,
        "tiers.free.quota.timeZone",
    ),
}


@pytest.mark.parametrize(("document", "status", "name"), REFUSED.values(), ids=REFUSED)
def test_a_document_is_refused_and_the_last_one_holds(document: LimitDocument, status: HTTPStatus, name: str) -> None:
    held = documents()
    take(held, lease(epoch=2, revision=5))
    with pytest.raises(DocumentRefused) as refused:
        take(held, document)
    assert (refused.value.status, refused.value.name) == (status, name)
    assert name in str(refused.value)
    standing = held.standing(START)
    assert (standing.source, standing.epoch, standing.revision) == (LimitSource.LEASE, 2, 5)


def test_the_same_revision_renews_the_lease() -> None:
    held = documents()
    take(held, lease(ttl=10.0), at=50.0)
    take(held, lease(ttl=10.0), at=55.0)
    assert source(held, 64.9) is LimitSource.LEASE
    assert source(held, 65.0) is LimitSource.OWN_GPU


def test_a_new_epoch_may_count_revisions_from_one() -> None:
    held = documents()
    take(held, lease(epoch=1, revision=99))
    take(held, lease(epoch=2, revision=1))


def test_old_documents_stay_old_after_a_restart() -> None:
    held = documents()
    take(held, lease(epoch=2, revision=5))
    restarted = documents(held.remembered)
    assert source(restarted) is LimitSource.OWN_GPU
    with pytest.raises(DocumentRefused):
        take(restarted, lease(epoch=2, revision=4))
    take(restarted, lease(epoch=2, revision=5))


def test_a_policy_made_anew_counts_from_the_start() -> None:
    held = documents()
    take(held, lease(epoch=3, revision=70, issued_at=NOW - 5))
    anew = POLICY.model_copy(update={"uid": "policy-2"})
    take(held, lease(policy=anew, epoch=3, revision=1, issued_at=NOW - 1))
    with pytest.raises(DocumentRefused):
        take(held, lease(epoch=3, revision=71, issued_at=NOW - 5))  # the deleted one's last words


def test_without_any_document_only_the_own_gpu_is_guarded() -> None:
    standing = documents().standing(START)
    rule = standing.rule(TierName("anyone"))
    assert standing.source is LimitSource.OWN_GPU
    assert (rule.name, rule.rate, rule.quota) == ("default", None, None)
    assert 0 < rule.queue < 100
    assert 0 < rule.max_wait < 120


def test_a_lease_that_ends_leaves_the_baseline() -> None:
    held = documents()
    held.take_baseline(baseline(epoch=1, revision=3))
    take(held, lease(ttl=120.0, revision=8))
    assert source(held, START + 119.9) is LimitSource.LEASE
    standing = held.standing(Seconds(START + 120.0))
    assert (standing.source, standing.revision, standing.rule(TierName("free")).rate) == (LimitSource.BASELINE, 3, 1.0)


RAMP = {"at once": (0, 1.0), "held": (599, 1.0), "half way": (750, 2.0), "the tier's maximum": (900, 3.0)}


@pytest.mark.parametrize(("waited", "rate"), RAMP.values(), ids=RAMP)
def test_the_safe_rate_holds_and_then_grows_to_the_maximum(waited: float, rate: float) -> None:
    held = documents()
    held.take_baseline(baseline())
    take(held, lease(ttl=100.0))
    assert held.standing(Seconds(START + 100 + waited)).rule(TierName("free")).rate == rate


def test_every_change_of_a_baseline_is_announced() -> None:
    held = documents()
    held.take_baseline(baseline())
    at, rates = START, []
    while (until := held.standing(at).until) is not None:
        rates.append(held.standing(at).rule(TierName("free")).rate)
        assert until > at
        at = until
    assert rates == sorted(rates)  # type: ignore[type-var]
    assert held.standing(at).rule(TierName("free")).rate == 3.0


def test_a_lease_in_between_starts_the_waiting_anew() -> None:
    held = documents()
    held.take_baseline(baseline())
    take(held, lease(ttl=10.0), at=START + 700)
    assert held.standing(Seconds(START + 711)).rule(TierName("free")).rate == 1.0


def test_a_released_agent_guards_only_its_own_gpu() -> None:
    held = documents()
    held.take_baseline(baseline())
    take(held, lease())
    take(held, lease(kind=DocumentKind.RELEASED, revision=2, tiers=()))
    assert source(held) is LimitSource.OWN_GPU
    restarted = documents(held.remembered)
    restarted.take_baseline(baseline())  # the file may be there still
    assert source(restarted) is LimitSource.OWN_GPU
    restarted.take_baseline(baseline(issued_at=NOW + 5, policy=POLICY.model_copy(update={"uid": "policy-2"})))
    assert source(restarted) is LimitSource.BASELINE


def test_a_policy_that_observes_leaves_no_baseline_behind() -> None:
    held = documents()
    held.take_baseline(baseline())
    take(held, lease(kind=DocumentKind.OBSERVE))
    assert held.standing(START).observing
    assert source(held, START + 121) is LimitSource.OWN_GPU


def test_a_policy_that_enforces_again_has_its_baseline_back() -> None:
    held = documents()
    held.take_baseline(baseline())
    take(held, lease(kind=DocumentKind.OBSERVE))
    take(held, lease(revision=2))
    assert source(held, START + 121) is LimitSource.BASELINE


def test_an_older_baseline_is_refused_also_after_a_restart() -> None:
    held = documents()
    held.take_baseline(baseline(epoch=1, revision=5))
    for candidate in (held, documents(held.remembered)):
        with pytest.raises(DocumentRefused):
            candidate.take_baseline(baseline(epoch=1, revision=4))


def test_a_baseline_of_another_policy_is_refused() -> None:
    with pytest.raises(DocumentRefused):
        documents().take_baseline(baseline(policy=OTHER_POLICY))
    with pytest.raises(DocumentRefused):
        documents().take_baseline(lease())


def test_the_baseline_of_a_policy_since_replaced_does_not_count() -> None:
    held = documents()
    held.take_baseline(baseline())
    take(held, lease(policy=POLICY.model_copy(update={"uid": "policy-2"}), ttl=10.0))
    assert source(held, START + 11) is LimitSource.OWN_GPU


def test_a_tier_without_a_safe_rate_has_its_share_of_the_maximum() -> None:
    held = documents()
    held.take_baseline(baseline(tiers=(FREE.model_copy(update={"max_rate": 8.0}), PLUS)))
    standing = held.standing(START)
    assert (standing.rule(TierName("free")).rate, standing.rule(TierName("free")).max_rate) == (2.0, 2.0)
    assert standing.rule(TierName("plus")).rate is None


UNKNOWN = {
    "the default tier": (("default", 5), ("free", 0), "default"),
    "else the least important": (("plus", 5), ("free", 0), "free"),
}


@pytest.mark.parametrize(("one", "two", "expected"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_tier_is_limited_as(one: tuple[str, int], two: tuple[str, int], expected: str) -> None:
    held = documents()
    tiers = tuple(FREE.model_copy(update={"name": name, "priority": priority}) for name, priority in (one, two))
    take(held, lease(tiers=tiers))
    assert held.standing(START).rule(TierName("paid-i-swear")).name == expected


pushes = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 5), st.sampled_from(["Enforce", "Observe", "Released"]), st.booleans()),
    max_size=40,
)


@settings(deadline=None)
@given(steps=pushes)
def test_the_revision_obeyed_never_falls(steps: list[tuple[int, int, str, bool]]) -> None:
    held, highest = documents(), (0, 0)
    for epoch, revision, kind, restart in steps:
        document = lease(epoch=epoch, revision=revision, kind=DocumentKind(kind))
        if restart:
            held = documents(held.remembered)
        try:
            take(held, document)
        except DocumentRefused:
            assert (epoch, revision) < highest
        else:
            assert (epoch, revision) >= highest
            highest = (epoch, revision)
        assert (held.remembered.lease.epoch, held.remembered.lease.revision) == highest


def test_refusals_name_the_next_step() -> None:
    held = documents()
    take(held, lease(epoch=2, revision=5))
    with pytest.raises(DocumentRefused, match=r"epoch 2, revision 5 .* go on from there"):
        take(held, lease())
    with pytest.raises(DocumentRefused, match="this is pod pod-1"):
        held.take(lease(pod_uid=PodUid("x")), NOW, START)


def test_features_stay_as_the_last_lease_had_them_also_after_a_restart() -> None:
    held = documents()
    held.take_baseline(baseline(features={"edit": 100}))
    take(held, lease(features={"edit": 5}))
    later = Seconds(START + 121.0)
    assert (held.standing(later).source, held.standing(later).features) == (LimitSource.BASELINE, {"edit": 5})
    restarted = documents(held.remembered)
    restarted.take_baseline(baseline(features={"edit": 100}))
    assert restarted.standing(START).features == {"edit": 5}
    assert restarted.standing(Seconds(START + 900.0)).features == {"edit": 100}


def test_features_that_were_only_observed_or_are_another_policys_take_nothing_away() -> None:
    for last in (lease(features={"edit": 5}, kind=DocumentKind.OBSERVE), lease(features={"edit": 5})):
        held = documents()
        take(held, last)
        anew = POLICY.model_copy(update={"uid": "policy-2"}) if last.kind is DocumentKind.ENFORCE else POLICY
        held.take_baseline(baseline(features={"edit": 100}, policy=anew, issued_at=NOW + 1))
        assert held.standing(Seconds(START + 121.0)).features == {"edit": 100}
