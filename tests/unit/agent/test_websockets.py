"""A WebSocket's client that leaves in the moment of its turn leaves no slot behind."""

import asyncio

from meltguard.agent.agent import Agent
from meltguard.agent.asgi import Message, Receive, Scope, Send
from meltguard.agent.caller import identify_of
from meltguard.agent.cost import DEFAULT_COST
from meltguard.agent.identity import IdentityMiddleware
from meltguard.agent.middleware import AdmissionMiddleware
from meltguard.agent.visit import Ask, Result
from meltguard.clock import SystemClock
from meltguard.core.units import Gpus, TierName
from support.agents import FREE, a_lease, agent_settings, signed
from support.eventually import eventually

DONE = Result(status=200, finished=True, delivered=True)
LEFT: Message = {"type": "websocket.disconnect", "code": 1001}


class Here:
    """Whoever holds the first slot."""

    def done(self) -> bool:
        """It stays."""
        return False


async def never_asked(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError("nobody is there to be served")


async def test_who_leaves_in_the_moment_of_its_turn_holds_no_slot() -> None:
    settings = agent_settings(gpus=Gpus(1))
    agent = Agent(settings, SystemClock(), None)
    agent.obey(signed(a_lease(FREE)))
    app = AdmissionMiddleware(never_asked, agent.admission, settings.callers, settings.pace)
    known = IdentityMiddleware(app, identify_of(settings.callers), settings.callers)
    heard: asyncio.Queue[Message] = asyncio.Queue()

    async def told(_message: Message) -> None:
        return

    first = agent.admission.enter_at_once(Ask(tier=TierName("free"), user="bob", cost=DEFAULT_COST), Here())
    assert first is not None
    heard.put_nowait({"type": "websocket.connect"})
    scope = {"type": "websocket", "path": "/ws", "headers": [(b"x-meltguard-tier", b"free")], "query_string": b""}
    knocking = asyncio.create_task(known(scope, heard.get, told))
    await eventually(lambda: len(agent.admission.gate.line) == 1)
    await asyncio.sleep(0)  # its listener waits for a message
    heard.put_nowait(LEFT)  # is heard first
    agent.admission.finish(first, DONE)
    await knocking
    assert (agent.admission.gate.meter.in_flight, len(agent.admission.gate.slots)) == (0, 0)
