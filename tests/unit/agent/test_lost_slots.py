"""Whatever becomes of requests, the slots in use are those of requests that are there: a state machine over them."""

import asyncio
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from meltguard.agent.agent import Agent
from meltguard.agent.cost import DEFAULT_COST
from meltguard.agent.gate import Gate, Wish
from meltguard.agent.lane import Slot
from meltguard.agent.metrics import registry_of
from meltguard.agent.refusal import Refusal
from meltguard.agent.standing import Standing
from meltguard.agent.visit import Ask, Result, Visit
from meltguard.api.agent_report import LimitSource
from meltguard.core.units import Gpus, Seconds, TierName, Units
from support.agents import FREE, ManualClock, Patient, a_lease, agent_settings, signed

GPUS = 2
DONE = Result(status=200, finished=True, delivered=True)
STEPS = ("come", "end", "end twice", "vanish", "fail", "cut off", "pass by")
MENDED = "meltguard_agent_slots_mended_total"


class Client(Patient):
    """One request: it waits, then holds a slot until it is told how to go."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.visit: Visit | None = None
        self.how: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._live())

    @property
    def inside(self) -> bool:
        """Whether it is there and has a slot."""
        return self.visit is not None and not self.task.done()

    async def _live(self) -> None:
        ask = Ask(tier=TierName("free"), user="ann", cost=DEFAULT_COST)
        outcome = await self._agent.admission.admit(ask, self)
        if isinstance(outcome, Refusal):
            return
        self.visit = outcome
        how = await self.how
        if how == "fail":
            raise RuntimeError("something of ours failed before the slot was given back")
        if how != "vanish":
            self._agent.admission.finish(outcome, DONE)
        if how == "end twice":
            self._agent.admission.finish(outcome, DONE)


class World:
    """An agent whose requests come and go."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.agent = Agent(agent_settings(gpus=Gpus(GPUS)), self.clock, None)
        self.agent.obey(signed(a_lease(FREE.model_copy(update={"max_wait": 60.0}), issued_at=self.clock.now())))
        self.clients: list[Client] = []
        self.registry: CollectorRegistry = registry_of(self.agent)

    async def step(self, what: str, which: int) -> None:
        """One thing happens, and the loop comes to rest."""
        inside = [each for each in self.clients if each.inside and not each.how.done()]
        there = [each for each in self.clients if not each.task.done()]
        if what == "come":
            self.clients.append(Client(self.agent))
        elif what == "pass by":
            self.clock.pass_by(6.0)
            self.agent.tick()
        elif what == "cut off" and there:
            there[which % len(there)].task.cancel()
        elif inside and what != "cut off":
            inside[which % len(inside)].how.set_result(what)
        for _ in range(5):
            await asyncio.sleep(0)

    def check(self) -> None:
        """Nobody is let in beyond the GPUs, and no request that is there has lost its slot."""
        gate = self.agent.admission.gate
        inside = sum(client.inside for client in self.clients)
        assert gate.meter.in_flight == len(gate.slots) == sum(each.inside for each in gate.tally.tiers.values())
        assert inside <= len(gate.slots) <= GPUS

    async def end(self) -> None:
        """Everybody goes in order; then no slot is in use."""
        while there := [each for each in self.clients if not each.task.done()]:
            await self.step("pass by", 0)
            await self.step("end", 0)
            if all(not each.inside for each in there):
                await self.step("cut off", 0)
        for client in self.clients:
            with suppress(RuntimeError, asyncio.CancelledError):
                await client.task
        await self.step("pass by", 0)
        gate = self.agent.admission.gate
        assert (gate.meter.in_flight, gate.meter.units_in_flight, len(gate.slots), len(gate.line)) == (0, 0, 0, 0)


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5)), max_size=40))
@settings(max_examples=60, deadline=None)
def test_slots_in_use_are_those_of_requests_that_are_there(steps: list[tuple[str, int]]) -> None:
    async def lived() -> None:
        world = World()
        for what, which in steps:
            await world.step(what, which)
            world.check()
        await world.end()

    asyncio.run(lived())


async def test_a_lost_slot_is_taken_back_counted_and_given_to_who_waits() -> None:
    world = World()
    assert world.registry.get_sample_value(MENDED) == 0.0
    for _ in range(GPUS + 1):
        await world.step("come", 0)
    await world.step("vanish", 0)
    assert [client.inside for client in world.clients] == [False, True, False]
    await world.step("pass by", 0)
    assert [client.inside for client in world.clients] == [False, True, True]
    assert world.registry.get_sample_value(MENDED) == 1.0
    world.check()
    await world.end()


async def test_a_slot_that_is_given_back_twice_frees_one() -> None:
    world = World()
    for _ in range(GPUS):
        await world.step("come", 0)
    await world.step("end twice", 0)
    assert world.agent.admission.gate.meter.in_flight == GPUS - 1
    await world.end()
    assert world.registry.get_sample_value(MENDED) == 0.0


def test_the_gate_itself_frees_a_slot_once() -> None:
    rule = Standing(source=LimitSource.LEASE, tiers={"free": FREE}, fallback=FREE)
    gate = Gate(Gpus(GPUS), 10, rule, Seconds(0.0))
    first, _ = (gate.place(Wish(TierName("free"), Units(1.0)), Seconds(0.0)) for _ in range(GPUS))
    assert isinstance(first, Slot)
    for _ in range(2):
        gate.finish(first, Seconds(1.0))
    assert (gate.meter.in_flight, gate.meter.units_in_flight) == (1, 1.0)
