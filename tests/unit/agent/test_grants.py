"""A grant holds its slot until the word comes that its request has ended, or the bound, whatever the asker does."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meltguard.agent.agent import Agent
from meltguard.agent.asgi import Message
from meltguard.agent.cost import DEFAULT_COST
from meltguard.agent.grants import Grant, Grants
from meltguard.agent.intake import Intake
from meltguard.agent.quota_store import AccountKey, hashed
from meltguard.agent.refusal import Reason, Refusal
from meltguard.agent.visit import Ask, Result
from meltguard.clock import SystemClock
from meltguard.core.units import Gpus, Seconds, TierName
from support.agents import FREE, a_free_tier, a_lease, agent_settings, signed
from support.eventually import eventually
from support.memory_quota import MemoryQuotaStore

ASK = Ask(tier=TierName("free"), user="ann", cost=DEFAULT_COST)
DONE = Result(status=200, finished=True, delivered=True)


async def nothing_more() -> Message:
    await asyncio.Event().wait()
    return {}


class Desk:
    """Grants of one agent with one GPU."""

    def __init__(self, bound: float) -> None:
        self.agent = Agent(agent_settings(gpus=Gpus(1)), SystemClock(), None)
        self.agent.obey(signed(a_lease(FREE)))
        self.grants = Grants(self.agent.admission, Seconds(bound))

    @property
    def in_use(self) -> int:
        """Slots."""
        self.agent.tick()  # which takes lost ones back
        return self.agent.admission.gate.meter.in_flight

    async def ask(self) -> Grant | Refusal:
        """As the decision endpoint does: whoever asked is gone once the answer is there."""
        intake = Intake(nothing_more)
        try:
            return await self.grants.ask(ASK, intake)
        finally:
            intake.close()

    async def granted(self) -> Grant:
        """A request that is let through."""
        grant = await self.ask()
        assert isinstance(grant, Grant)
        return grant


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk(bound=60.0)
    yield made
    made.grants.close()


async def test_a_slot_is_held_until_the_end_is_told_once(desk: Desk) -> None:
    grant = await desk.granted()
    assert desk.in_use == 1
    assert desk.grants.end(grant.id, DONE)
    assert desk.in_use == 0
    assert not desk.grants.end(grant.id, DONE)
    assert desk.agent.admission.lost_slots.mended == 0


async def test_who_waited_for_a_turn_holds_a_slot_too(desk: Desk) -> None:
    first = await desk.granted()
    waiting = asyncio.create_task(desk.granted())
    await asyncio.sleep(0)
    desk.grants.end(first.id, DONE)
    second = await waiting
    assert desk.in_use == 1
    desk.grants.end(second.id, DONE)
    assert desk.in_use == 0


async def test_who_leaves_while_waiting_leaves_nothing_behind(desk: Desk) -> None:
    await desk.granted()
    waiting = asyncio.create_task(desk.ask())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (desk.in_use, len(desk.agent.admission.gate.line)) == (1, 0)


async def test_an_end_that_nobody_tells_comes_at_the_bound() -> None:
    desk = Desk(bound=0.02)
    await desk.granted()
    await eventually(lambda: desk.in_use == 0)
    assert desk.agent.admission.lost_slots.untold == 1


async def test_all_end_together(desk: Desk) -> None:
    await desk.granted()
    desk.grants.close()
    assert desk.in_use == 0


async def test_a_refused_request_holds_nothing(desk: Desk) -> None:
    desk.agent.admission.stop()
    refused = await desk.ask()
    assert isinstance(refused, Refusal)
    assert (refused.reason, desk.in_use) == (Reason.STOPPING, 0)


async def test_what_was_let_through_is_paid_for_though_the_agent_is_killed(tmp_path: Path) -> None:
    """It never sees the answer: a user may pay for a failure, and never gets more than the quota."""
    store, settings = MemoryQuotaStore(SystemClock()), agent_settings(state_file=tmp_path / "state.json")
    killed = Agent(settings, SystemClock(), store)
    killed.obey(signed(a_lease(a_free_tier(images=3))))
    assert isinstance(await Grants(killed.admission, Seconds(60.0)).ask(ASK, Intake(nothing_more)), Grant)
    killed.quota.close()
    following = Agent(settings, SystemClock(), store)
    work = asyncio.create_task(following.quota.run(Seconds(0.01)))
    await eventually(lambda: following.quota.nothing_to_tell)
    work.cancel()
    ann = AccountKey(policy=str(settings.policy), tier="free", user=hashed("ann"))
    assert (store.account(ann).spent, dict(store.account(ann).holds)) == (1, {})
