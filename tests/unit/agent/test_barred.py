"""What is refused for what no GPU would mend is no demand: nobody's work is broken off for it."""

from typing import Any

import pytest

from meltguard.agent.agent import Agent
from meltguard.agent.cost import Cost
from meltguard.agent.refusal import FOR_CAPACITY, NO_DEMAND, Reason, Refusal
from meltguard.agent.visit import Ask, Result
from meltguard.api.agent_report import TierReport
from meltguard.api.grants import counters_of
from meltguard.api.limit_document import TierLimit, TierState
from meltguard.core.load import load_between
from meltguard.core.units import Gpus, NodeName, TierName
from support.agents import FREE, ManualClock, Patient, a_free_tier, a_lease, agent_settings, limited, signed
from support.memory_quota import MemoryQuotaStore

WHILE_LIMITED = {Reason.FEATURE_SLOWED, Reason.QUOTA_STORE, Reason.CLIENT_GONE}
"""They would have been served with more GPUs, or are as soon as the store answers."""


def at_work(tier: TierLimit) -> tuple[Agent, ManualClock]:
    clock = ManualClock()
    agent = Agent(agent_settings(gpus=Gpus(8)), clock, MemoryQuotaStore(clock))
    agent.obey(signed(a_lease(tier, issued_at=clock.now())))
    return agent, clock


async def asks(agent: Agent, times: int, **changes: Any) -> list[Reason | None]:
    """So many requests of one user, one after the other, each served at once; why each was refused."""
    found: list[Reason | None] = []
    for _ in range(times):
        ask = Ask(TierName("free"), "ann", Cost(images=1), **changes)
        outcome = await agent.admission.admit(ask, Patient())
        if not isinstance(outcome, Refusal):
            agent.admission.finish(outcome, Result(200, finished=True, delivered=True))
            await agent.quota.finish(agent.settings.quota.probe_every)
        found.append(outcome.reason if isinstance(outcome, Refusal) else None)
    return found


def told(agent: Agent) -> TierReport:
    return agent.report().tiers["free"]


def test_every_reason_is_thought_of() -> None:
    assert set(Reason) == FOR_CAPACITY | NO_DEMAND | WHILE_LIMITED
    assert not FOR_CAPACITY & NO_DEMAND


async def test_a_user_whose_allowance_is_used_up_asks_for_no_gpu() -> None:
    agent, _ = at_work(a_free_tier(images=3))
    assert await asks(agent, 10) == [None] * 3 + [Reason.DAILY_QUOTA] * 7
    assert (told(agent).offered, told(agent).offered_units, told(agent).barred_units) == (10, 10.0, 7.0)


async def test_nor_does_what_the_tiers_own_maximum_keeps_out() -> None:
    agent, _ = at_work(FREE.model_copy(update={"max_rate": 0.5, "quota": None}))
    refused = await asks(agent, 10)
    assert refused.count(Reason.OWN_MAXIMUM) > 0
    assert told(agent).barred_units == refused.count(Reason.OWN_MAXIMUM)


async def test_whom_a_limit_keeps_out_does() -> None:
    agent, _ = at_work(limited(FREE.model_copy(update={"quota": None}), TierState.REJECT, 0.1))
    assert Reason.OVER_RATE in await asks(agent, 30)
    assert told(agent).barred_units == 0.0


async def test_a_retry_is_neither_counted_nor_taken_off_twice() -> None:
    agent, _ = at_work(a_free_tier(images=0))
    assert await asks(agent, 5, key="one") == [Reason.DAILY_QUOTA] * 5
    assert (told(agent).offered_units, told(agent).offered_squares, told(agent).barred_units) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("times", "wanted"), [(3, 3.0), (10, 3.0)])
async def test_the_operator_reads_what_gpus_were_asked_for(times: int, wanted: float) -> None:
    agent, clock = at_work(a_free_tier(images=3))
    before = counters_of(agent.report())
    await asks(agent, times)
    clock.pass_by(10.0)
    load = load_between(NodeName("gpu-01"), before, counters_of(agent.report()), clock.elapsed())
    assert load is not None
    assert load.tiers[TierName("free")].offered == pytest.approx(wanted / 10.0)
