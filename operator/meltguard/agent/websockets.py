"""WebSockets before the admission: each is one request, and holds its slot as long as it is open.

What is asked for over one is not seen, so a tier with a quota does not get one unless its gateway names the cost.
A channel that makes no images (ComfyUI's progress at `/ws`) is an open path: it passes without a slot.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from meltguard.agent.admission import Admission
from meltguard.agent.asgi import Answer, App, Header, Message, Receive, Scope, Send
from meltguard.agent.asking import Asking
from meltguard.agent.bounded import TooLong, bounded
from meltguard.agent.refusal import Refusal
from meltguard.agent.turns import Ticket
from meltguard.agent.visit import Result
from meltguard.core.units import Seconds

TRY_AGAIN: Final = 1013
DENIAL: Final = "websocket.http.response"
NOBODY: Final = Result(status=0, finished=False, delivered=False)


class Knock:
    """A client that waits to be let in. Until then it can only leave."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._listening: asyncio.Task[None] | None = None
        self.gone = False

    def watch(self, when_gone: Callable[[], None]) -> None:
        """Call back when the client leaves."""
        self._listening = asyncio.create_task(self._until_gone(when_gone))

    def waits(self, ticket: Ticket) -> None:
        """It has a place in the line, of which a WebSocket is not told."""

    def close(self) -> None:
        """It waits no more."""
        if self._listening is not None:
            self._listening.cancel()

    async def _until_gone(self, when_gone: Callable[[], None]) -> None:
        while (await self._receive())["type"] != "websocket.disconnect":
            pass
        self.gone = True
        when_gone()


class WebSockets:
    """Lets them in one by one."""

    def __init__(self, app: App, admission: Admission, asking: Asking, longest: Seconds) -> None:
        self._app, self._admission, self._asking, self._longest = app, admission, asking, longest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket scope."""
        connect = await receive()
        knock = Knock(receive)
        try:
            outcome = await self._admission.admit(self._asking.of(scope, None), knock)
        finally:
            knock.close()
        if isinstance(outcome, Refusal):
            await denied(scope, self._admission.telling.answer(outcome), send, self._admission.telling.load_headers())
            return
        if knock.gone:  # in the moment of its turn: the app would wait for a client that has been heard leaving
            self._admission.finish(outcome, NOBODY)
            return
        self._admission.delivers(outcome, None)  # what goes over it is not seen
        passed = Passed(connect, receive, send)
        try:
            await bounded(self._app(scope, passed.receive, passed.send), self._longest)
        except TooLong:
            await send({"type": "websocket.close", "code": TRY_AGAIN, "reason": "open for as long as may be"})
        finally:
            finished = passed.accepted
            status = 200 if finished else 502
            self._admission.finish(outcome, Result(status=status, finished=finished, delivered=finished))


class Passed:
    """Gives the app what was read already, and sees whether it takes the client."""

    def __init__(self, connect: Message, receive: Receive, send: Send) -> None:
        self._first: list[Message] = [connect]
        self._receive, self._send = receive, send
        self.accepted = False

    async def receive(self) -> Message:
        """The app's `receive`."""
        return self._first.pop() if self._first else await self._receive()

    async def send(self, message: Message) -> None:
        """The app's `send`."""
        self.accepted = self.accepted or message["type"] == "websocket.accept"
        await self._send(message)


async def denied(scope: Scope, answer: Answer, send: Send, also: list[Header]) -> None:
    """Refuse a handshake with a whole answer, or close it where the server cannot."""
    if DENIAL not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": TRY_AGAIN})
        return

    async def as_denial(message: Message) -> None:
        await send({**message, "type": message["type"].replace("http.response", DENIAL)})

    await answer.send(as_denial, also)
