"""The agent's series are there before the first request, and no label value comes from a request."""

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from meltguard.agent.agent import Agent
from meltguard.agent.bearers import OUTCOMES
from meltguard.agent.metrics import registry_of
from meltguard.agent.refusal import Reason
from meltguard.agent.token_keys import FETCHES
from meltguard.api.store_state import StoreState
from meltguard.clock import SystemClock
from meltguard.core.units import Seconds, TierName, Units
from support.agents import ManualClock, a_free_tier, a_lease, agent_settings, signed

LABELS = {"answered_by", "outcome", "result", "state", "tier", "reason", "source", "status", "le"}


async def test_every_tier_of_a_document_is_shown_at_zero_before_its_first_request() -> None:
    agent = Agent(agent_settings(), SystemClock(), None)
    agent.obey(signed(a_lease()))
    registry = registry_of(agent)
    for tier in ("free", "plus"):
        assert registry.get_sample_value("meltguard_agent_offered_total", {"tier": tier}) == 0.0
        assert registry.get_sample_value("meltguard_agent_admitted_total", {"tier": tier}) == 0.0
        refused = {
            registry.get_sample_value("meltguard_agent_refused_total", {"tier": tier, "reason": reason.value})
            for reason in Reason
        }
        assert refused == {0.0}


async def test_the_quota_stores_state_and_troubles_are_shown_from_the_start() -> None:
    agent = Agent(agent_settings(), SystemClock(), None)
    agent.obey(signed(a_lease(a_free_tier())))
    registry = registry_of(agent)
    prefix = "meltguard_agent_quota_"
    states = {state: registry.get_sample_value(f"{prefix}store_state", {"state": state.value}) for state in StoreState}
    assert {state for state, value in states.items() if value} == {StoreState.MISSING}
    assert registry.get_sample_value(f"{prefix}store_up") == 0.0
    for state in StoreState:
        expected = None if state.counts else 0.0
        assert registry.get_sample_value(f"{prefix}store_failures_total", {"state": state.value}) == expected
    for who in ("store", "known"):
        assert registry.get_sample_value(f"{prefix}claims_total", {"answered_by": who}) == 0.0


async def test_tokens_keys_and_lost_slots_are_counted_from_the_start() -> None:
    registry = registry_of(Agent(agent_settings(), SystemClock(), None))
    for outcome in OUTCOMES:
        assert registry.get_sample_value("meltguard_agent_tokens_total", {"outcome": outcome}) == 0.0
    for result in FETCHES:
        assert registry.get_sample_value("meltguard_agent_token_key_fetches_total", {"result": result}) == 0.0
    assert registry.get_sample_value("meltguard_agent_token_keys") == 0.0
    assert registry.get_sample_value("meltguard_agent_token_keys_age") is None  # never is not just now
    assert registry.get_sample_value("meltguard_agent_slots_mended_total") == 0.0


async def test_labels_are_few_and_name_neither_pod_nor_user() -> None:
    agent = Agent(agent_settings(), SystemClock(), None)
    agent.obey(signed(a_lease()))
    text = generate_latest(registry_of(agent)).decode()
    families = list(text_string_to_metric_families(text))
    assert {label for family in families for sample in family.samples for label in sample.labels} == LABELS
    assert "pod-1" not in text


async def test_waits_are_a_histogram_that_begins_at_zero() -> None:
    agent = Agent(agent_settings(), SystemClock(), None)
    agent.obey(signed(a_lease()))
    registry = registry_of(agent)

    def bucket(bound: str) -> float | None:
        return registry.get_sample_value("meltguard_agent_wait_seconds_bucket", {"tier": "free", "le": bound})

    assert bucket("+Inf") == 0.0
    for wait in (0.0, 0.7, 400.0):
        agent.admission.records.tally.tier(TierName("free")).admit(Units(1.0), Seconds(wait), Seconds(0.0))
    assert [bucket(bound) for bound in ("0.001", "0.5", "1.0", "300.0", "+Inf")] == [1.0, 1.0, 2.0, 2.0, 3.0]
    assert registry.get_sample_value("meltguard_agent_wait_seconds_sum", {"tier": "free"}) == 400.7


async def test_a_document_ages_until_the_next() -> None:
    clock = ManualClock()
    agent = Agent(agent_settings(), clock, None)
    registry = registry_of(agent)
    clock.pass_by(5.0)
    assert registry.get_sample_value("meltguard_agent_document_age") == 5.0
    agent.obey(signed(a_lease(issued_at=clock.now())))
    clock.pass_by(2.0)
    assert registry.get_sample_value("meltguard_agent_document_age") == 2.0
