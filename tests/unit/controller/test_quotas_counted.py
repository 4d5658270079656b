"""The condition that says whether quotas are counted, in words a person can act on."""

from dataclasses import replace

import pytest

from meltguard.api.conditions import Condition, ConditionStatus
from meltguard.api.store_state import WORDS, StoreState, told
from meltguard.controller.conditions import Pass, conditions
from meltguard.controller.enforcer import Enforcement
from meltguard.core.decide import decide
from meltguard.core.memory import Memory
from meltguard.core.policy import Policy, Quota
from meltguard.core.quota import Period
from meltguard.core.units import Instant, Revision
from support.core_values import FREE, a_policy, a_snapshot
from support.statuses import AT

WEEKLY = Quota(images=20, time_zone="UTC", per=Period.WEEK)


def with_quota() -> Policy:
    policy = a_policy()
    return replace(policy, tiers=tuple(replace(tier, quota=WEEKLY) for tier in policy.tiers))


def quotas(policy: Policy, stores: dict[StoreState, int]) -> Condition:
    seen = a_snapshot({FREE: 4.0})
    done = Enforcement(revision=Revision(1), pods=8, acknowledged=8, laggards=(), stores=stores, ack_times=())
    decision = decide(policy, Memory(), seen, Instant(1000.0))
    this = Pass(policy=policy, generation=1, seen=seen, decision=decision, enforcement=done, now=AT)
    return next(each for each in conditions(this) if each.type == "QuotasCounted")


def test_stores_that_answer_are_well() -> None:
    said = quotas(with_quota(), {StoreState.OK: 8})
    assert (said.status, said.reason) == (ConditionStatus.TRUE, "Counted")


def test_without_a_quota_no_store_is_needed() -> None:
    policy = a_policy()
    policy = replace(policy, tiers=tuple(replace(tier, quota=None) for tier in policy.tiers))
    assert quotas(policy, {StoreState.UNUSED: 8}).reason == "NoQuota"


@pytest.mark.parametrize("state", [state for state in StoreState if not state.counts])
def test_each_trouble_is_named_with_its_next_step(state: StoreState) -> None:
    said = quotas(with_quota(), {StoreState.OK: 5, state: 3})
    assert said.status is ConditionStatus.FALSE
    assert said.reason == "Store" + state.value.title().replace("-", "")
    assert said.message.startswith("3 of 8 pods refuse tiers with a quota")
    assert WORDS[state].step in said.message


def test_the_trouble_of_most_pods_comes_first() -> None:
    said = quotas(with_quota(), {StoreState.SLOW: 1, StoreState.FULL: 5, StoreState.OK: 2})
    assert said.reason == "StoreFull"
    assert told(StoreState.FULL) in said.message
    assert said.message.endswith("also slow at 1")


def test_a_word_of_a_newer_agent_counts_as_a_fault() -> None:
    assert StoreState.read("on-holiday") is StoreState.FAULTY
    assert StoreState.read("ok") is StoreState.OK
