"""A request whose end can be read in two ways goes nowhere."""

import pytest

from meltguard.agent.asgi import Message, Receive, Scope, Send
from meltguard.agent.framing import PlainFraming

LENGTH, CHUNKS = (b"content-length", b"5"), (b"transfer-encoding", b"chunked")


async def answered(scope: Scope) -> list[Message]:
    sent: list[Message] = []

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "reached"})

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    await PlainFraming(app)(scope, receive, send)
    return sent


async def test_two_lengths_are_refused_and_the_connection_ends() -> None:
    start, _ = await answered({"type": "http", "headers": [LENGTH, (b"Transfer-Encoding", b"chunked")]})
    assert start["status"] == 400
    assert (b"connection", b"close") in start["headers"]


PLAIN = {
    "a length": {"type": "http", "headers": [LENGTH]},
    "chunks": {"type": "http", "headers": [CHUNKS]},
    "no body": {"type": "http", "headers": []},
    "no request": {"type": "websocket"},
}


@pytest.mark.parametrize("scope", PLAIN.values(), ids=PLAIN)
async def test_all_else_goes_on(scope: Scope) -> None:
    assert await answered(scope) == [{"type": "reached"}]
