"""What an app's answer becomes on its way, and that a request that waits for nothing costs no task and no timer."""

import asyncio

import pytest

from meltguard.agent.agent import Agent
from meltguard.agent.asgi import App, Message, Receive, Scope, Send
from meltguard.agent.caller import identify_of
from meltguard.agent.identity import IdentityMiddleware
from meltguard.agent.middleware import AdmissionMiddleware
from meltguard.agent.settings import AgentSettings
from meltguard.clock import SystemClock
from meltguard.core.units import Gpus
from support.agents import FREE, a_lease, agent_settings, signed

START: Message = {"type": "http.response.start", "status": 200, "headers": []}
END: Message = {"type": "http.response.body", "body": b"image"}
SETTINGS: AgentSettings = agent_settings(gpus=Gpus(1))


class Asked:
    """One request to an app behind the admission."""

    def __init__(self, app: App) -> None:
        self.agent = Agent(SETTINGS, SystemClock(), None)
        self.agent.obey(signed(a_lease(FREE)))
        guarded = AdmissionMiddleware(app, self.agent.admission, SETTINGS.callers, SETTINGS.pace)
        self.known = IdentityMiddleware(guarded, identify_of(SETTINGS.callers), SETTINGS.callers)
        self.sent: list[Message] = []
        self._body: list[Message] = [{"type": "http.request", "body": b"{}"}]

    async def answered(self) -> list[str]:
        """Ask; the types of what was sent."""
        headers = [(b"x-meltguard-tier", b"free"), (b"x-meltguard-user", b"ann")]
        scope = {"type": "http", "method": "POST", "path": "/v1/images", "headers": headers, "query_string": b""}
        await self.known(scope, self._receive, self._send)
        return self.types

    @property
    def types(self) -> list[str]:
        """Of what was sent."""
        return [message["type"] for message in self.sent]

    @property
    def in_use(self) -> int:
        """Slots."""
        return self.agent.admission.gate.meter.in_flight

    async def _receive(self) -> Message:
        if not self._body:
            await asyncio.Event().wait()
        return self._body.pop()

    async def _send(self, message: Message) -> None:
        self.sent.append(message)


async def at_once(_scope: Scope, receive: Receive, send: Send) -> None:
    assert (await receive())["body"] == b"{}"
    await send(START)
    await send(END)


async def test_what_waits_for_nothing_needs_no_task_and_no_timer() -> None:
    asked = Asked(at_once)
    loop = asyncio.get_running_loop()
    before, timers = len(asyncio.all_tasks()), len(loop._scheduled)  # type: ignore[attr-defined] # there is no other way
    assert await asked.answered() == [START["type"], END["type"]]
    assert (len(asyncio.all_tasks()), len(loop._scheduled)) == (before, timers)  # type: ignore[attr-defined]
    assert asked.in_use == 0


async def test_an_app_that_waits_is_sent_for_meanwhile() -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        begun.set()
        await goes_on.wait()
        await send(END)

    asked = Asked(app)
    answered = asyncio.create_task(asked.answered())
    await begun.wait()
    for _ in range(3):
        await asyncio.sleep(0)
    assert (asked.types, asked.in_use) == ([START["type"]], 1)
    goes_on.set()
    assert await answered == [START["type"], END["type"]]
    assert asked.in_use == 0


async def test_a_whole_answer_is_sent_though_its_app_fails_then() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send(END)
        raise RuntimeError("too late")

    asked = Asked(app)
    with pytest.raises(RuntimeError, match="too late"):
        await asked.answered()
    assert (asked.types, asked.in_use) == ([START["type"], END["type"]], 0)


async def test_half_an_answer_of_an_app_that_fails_is_none() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        raise RuntimeError("out of memory")

    asked = Asked(app)
    with pytest.raises(RuntimeError, match="out of memory"):
        await asked.answered()
    assert (asked.types, asked.in_use) == ([], 0)


@pytest.mark.parametrize("steps", [0, 1])
async def test_an_app_whose_own_wait_timed_out_is_not_said_to_have_taken_too_long(steps: int) -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        for _ in range(steps):
            await asyncio.sleep(0)
        raise TimeoutError("the model server did not answer")

    asked = Asked(app)
    with pytest.raises(TimeoutError, match="the model server"):
        await asked.answered()
    assert (asked.types, asked.in_use) == ([], 0)
