"""What each pod may admit with a lease, and what it falls back to without one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.grant import GrantKind
from meltguard.core.granting import (
    LEASE_TTL,
    SAFE_SHARE,
    Stamp,
    baseline_for,
    concurrency_bound,
    grant_for,
    queue_bound,
    safe_capacity,
)
from meltguard.core.memory import Memory
from meltguard.core.policy import Mode, TierState
from meltguard.core.units import Epoch, Instant, PodUid, Revision, Seconds, TierName, UnitsPerSecond
from support.core_values import FREE, PLUS, a_policy, a_snapshot, a_tier

NOW = Instant(1000.0)
STAMP = Stamp(epoch=Epoch(7), revision=Revision(3), at=NOW)
PODS = st.integers(min_value=0, max_value=64)
RATE = st.floats(min_value=0.001, max_value=1e4)


def decided(mode: Mode = Mode.ENFORCE) -> Decision:
    return decide(a_policy(mode=mode), Memory(), a_snapshot({FREE: 1.0, PLUS: 1.0}), NOW)


def safe_rates(capacity: float | None, pods: int) -> dict[TierName, float | None]:
    known = None if capacity is None else UnitsPerSecond(capacity)
    return {tier.name: tier.safe_rate for tier in baseline_for(a_policy(), known, pods, NOW).tiers}


@given(RATE, PODS)
def test_without_the_operator_all_pods_together_stay_below_what_the_gpus_did(capacity: float, pods: int) -> None:
    rates = [rate for rate in safe_rates(capacity, pods).values() if rate is not None]
    assert len(rates) == len(a_policy().tiers)
    assert sum(rates) * max(1, pods) == pytest.approx(SAFE_SHARE * capacity)


@given(RATE, st.integers(min_value=1, max_value=64))
def test_a_tier_s_own_maximum_bounds_its_safe_rate(capacity: float, pods: int) -> None:
    policy = a_policy(tiers=(a_tier("free", max_rate=UnitsPerSecond(0.5)),))
    (tier,) = baseline_for(policy, UnitsPerSecond(capacity), pods, NOW).tiers
    assert tier.safe_rate == pytest.approx(min(0.5, SAFE_SHARE * capacity) / pods)


def test_where_nothing_was_ever_learned_a_baseline_limits_nothing() -> None:
    grant = baseline_for(a_policy(), None, 4, NOW)
    assert {tier.state for tier in grant.tiers} == {TierState.OPEN}
    assert grant.ttl is None
    assert grant.kind is GrantKind.BASELINE


@given(RATE, PODS)
def test_what_was_learned_before_a_restart_counts_until_agents_answer(learned: float, pods: int) -> None:
    unknown = replace(decided(), capacity=None, memory=Memory(units_per_gpu=UnitsPerSecond(learned)))
    assert safe_capacity(unknown, pods) == pytest.approx(learned * max(1, pods))


def test_a_measured_capacity_goes_before_a_remembered_one() -> None:
    known = replace(decided(), capacity=UnitsPerSecond(9.0), memory=Memory(units_per_gpu=UnitsPerSecond(1.0)))
    assert safe_capacity(known, 4) == 9.0
    assert safe_capacity(replace(known, capacity=None, memory=Memory()), 4) is None


def test_a_lease_bears_its_number_its_end_and_the_pod_it_is_for() -> None:
    grant = grant_for(a_policy(), decided(), (PodUid("pod-1"), 8), {}, STAMP)
    assert (grant.epoch, grant.revision, grant.pod, grant.ttl) == (7, 3, "pod-1", LEASE_TTL)
    assert grant.kind is GrantKind.ENFORCE


def test_in_shadow_an_agent_only_observes() -> None:
    grant = grant_for(a_policy(mode=Mode.SHADOW), decided(Mode.SHADOW), (PodUid("pod-1"), 8), {}, STAMP)
    assert grant.kind is GrantKind.OBSERVE


@given(RATE, st.floats(min_value=0.1, max_value=600.0))
def test_as_many_may_wait_as_are_served_within_the_longest_wait(rate: float, wait: float) -> None:
    bound = queue_bound(UnitsPerSecond(rate), Seconds(wait))
    assert 4 <= bound <= 1000
    assert bound in {4, 1000} or rate * wait <= bound < rate * wait + 1


@given(RATE, RATE)
def test_a_limited_tier_never_holds_many_more_gpus_than_its_rate_keeps_busy(rate: float, per_gpu: float) -> None:
    bound = concurrency_bound(UnitsPerSecond(rate), UnitsPerSecond(per_gpu))
    mean = rate / per_gpu
    assert bound >= 1
    assert min(mean, 10_000) <= bound <= mean + 3 * mean**0.5 + 1


def test_only_a_limited_tier_is_bounded_in_the_gpus() -> None:
    learned = replace(decided(), memory=Memory(units_per_gpu=UnitsPerSecond(0.5)))
    free, plus = grant_for(a_policy(), learned, (PodUid("pod-1"), 8), {FREE: UnitsPerSecond(0.5)}, STAMP).tiers[:2]
    assert (free.name, free.concurrency) == (FREE, 4)
    assert (plus.name, plus.concurrency) == (PLUS, None)


def test_each_document_bears_the_tiers_floors_but_none_of_a_suspended_one() -> None:
    policy = a_policy()
    floors = {tier.name: tier.floor for tier in policy.tiers}
    assert {tier.name: tier.floor for tier in baseline_for(policy, None, 2, NOW).tiers} == floors
    decision = decided()
    lease = grant_for(policy, decision, (PodUid("pod-1"), 1), {}, STAMP)
    assert {tier.name: tier.floor for tier in lease.tiers} == floors
    suspended = tuple(replace(limit, state=TierState.SUSPEND) for limit in decision.limits)
    lease = grant_for(policy, replace(decision, limits=suspended), (PodUid("pod-1"), 1), {}, STAMP)
    assert {tier.floor for tier in lease.tiers} == {0.0}
