"""Slots, turns and places live as long as their requests: whatever ends those, nothing is left behind."""

import asyncio
import contextlib
from random import Random

import pytest

from meltguard.agent.agent import Agent
from meltguard.agent.asgi import App, Message, Receive, Scope, Send
from meltguard.agent.caller import identify_of
from meltguard.agent.identity import IdentityMiddleware
from meltguard.agent.middleware import AdmissionMiddleware
from meltguard.agent.place_app import PlacesMiddleware
from meltguard.agent.settings import AgentSettings, Pace, PlaceBounds
from meltguard.clock import SystemClock
from meltguard.core.units import Gpus, Seconds
from support.agents import FREE, PLUS, a_lease, agent_settings, signed
from support.eventually import eventually, soon

REQUESTS = 300
BRIEF = Pace(longest_image=Seconds(0.02))


class Whims:
    """An image server and its clients, which do anything, by one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)  # noqa: S311 - draws a test's chances
        self.inside = 0
        self.most = 0

    async def app(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, fail, break off, dawdle, or go when the client does."""
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            match self.chance.randrange(5):
                case 0:
                    raise RuntimeError("out of memory")
                case 1:
                    await asyncio.sleep(1.0)
                case 2:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                case _:
                    await asyncio.sleep(self.chance.random() * 0.01)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            if self.chance.random() < 0.8:
                await send({"type": "http.response.body", "body": b"image"})
        finally:
            self.inside -= 1

    async def client(self, guarded: App, number: int) -> None:
        """Ask, and stay, leave, or be cut off."""
        body: list[Message] = [{"type": "http.request", "body": b"{}"}]
        stays = self.chance.random() * 0.05

        async def receive() -> Message:
            if body:
                return body.pop()
            await asyncio.sleep(stays)
            return {"type": "http.disconnect"}

        async def send(_message: Message) -> None:
            await asyncio.sleep(0)

        headers = [(b"x-meltguard-tier", self.chance.choice([b"free", b"plus"]))]
        headers.append((b"x-meltguard-user", b"user-%d" % (number % 7)))
        if self.chance.random() < 0.3:
            headers.append((b"prefer", b"respond-async"))
        scope = {"type": "http", "method": "POST", "path": "/v1/images", "headers": headers, "query_string": b""}
        with contextlib.suppress(RuntimeError, TimeoutError, asyncio.CancelledError):
            task = asyncio.ensure_future(guarded(scope, receive, send))
            if self.chance.random() < 0.2:
                asyncio.get_running_loop().call_later(self.chance.random() * 0.03, task.cancel)
            await task


def settings(seed: int) -> AgentSettings:
    places = PlaceBounds(heard_within=Seconds(0.05), kept_for=Seconds(0.05), after=Seconds(0.01) if seed % 2 else None)
    return agent_settings(gpus=Gpus(2), pace=BRIEF, places=places)


@pytest.mark.parametrize("seed", range(4))
async def test_what_runs_is_what_is_counted_and_nothing_is_left(seed: int) -> None:
    agent, whims, chosen = Agent(settings(seed), SystemClock(), None), Whims(seed), settings(seed)
    agent.obey(signed(a_lease(FREE.model_copy(update={"max_wait": 0.05}), PLUS.model_copy(update={"max_wait": 0.2}))))
    guarded = AdmissionMiddleware(whims.app, agent.admission, chosen.callers, chosen.pace)
    places = PlacesMiddleware(guarded, agent)
    known = IdentityMiddleware(places, identify_of(chosen.callers), chosen.callers)
    async with soon(30.0):
        clients = []
        for number in range(REQUESTS):
            clients.append(asyncio.create_task(whims.client(known, number)))
            await asyncio.sleep(0.002)
            assert whims.inside <= agent.admission.gate.meter.in_flight <= 2
        await asyncio.gather(*clients)
        await eventually(lambda: not agent.shelf and not places._work)
    gate = agent.admission.gate
    assert whims.most == 2
    assert (gate.meter.in_flight, gate.meter.units_in_flight, len(gate.line), len(agent.admission._turns)) == (
        0,
        0,
        0,
        0,
    )
    counts = agent.admission.records.tally.tiers.values()
    assert sum(each.offered for each in counts) == REQUESTS
