"""A request whose end can be read in two ways goes nowhere."""

from collections.abc import Callable

import pytest

from meltguard.agent.asgi import App, Header, Message, Receive, Scope, Send
from meltguard.agent.caller import identify_of
from meltguard.agent.framing import PlainFraming
from meltguard.agent.identity import IdentityMiddleware
from meltguard.agent.settings import Callers

LENGTH, CHUNKS = (b"content-length", b"5"), (b"transfer-encoding", b"chunked")


def identity(app: App) -> App:
    return IdentityMiddleware(app, identify_of(CALLERS), CALLERS)


CALLERS = Callers()
GATES = {"control": PlainFraming, "users": identity}  # who reads the headers anyhow looks at the framing too
gates = pytest.mark.parametrize("gate", GATES.values(), ids=GATES)


async def answered(scope: Scope, gate: Callable[[App], App]) -> list[Message]:
    sent: list[Message] = []

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "reached"})

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    await gate(app)(scope, receive, send)
    return sent


def a_request(*headers: Header, target: bytes = b"/i", **more: object) -> Scope:
    return {"type": "http", "path": target.decode(), "raw_path": target, "headers": list(headers), **more}


UNCLEAR = {
    "two lengths": a_request(LENGTH, (b"Transfer-Encoding", b"chunked")),
    "another server's path": a_request(target=b"@evil.example/i"),
    "another server's port": a_request(target=b":80@evil.example/i"),
    "more of the server's name": a_request(target=b".evil.example/i"),
    "a URL": a_request(target=b"http://evil.example/i"),
    "no path": a_request(target=b""),
    "the server itself": a_request(target=b"*"),
    "a fragment": a_request(target=b"/i#j"),
}


@gates
@pytest.mark.parametrize("scope", UNCLEAR.values(), ids=UNCLEAR)
async def test_what_can_be_read_in_two_ways_is_refused_and_the_connection_ends(
    scope: Scope, gate: Callable[[App], App]
) -> None:
    start, _ = await answered(scope, gate)
    assert start["status"] == 400
    assert (b"connection", b"close") in start["headers"]


@gates
async def test_a_websocket_to_another_server_is_closed(gate: Callable[[App], App]) -> None:
    scope = a_request(target=b"@evil.example/ws", type="websocket")
    assert await answered(scope, gate) == [{"type": "websocket.close", "code": 1008}]


PLAIN: dict[str, Scope] = {
    "a length": a_request(LENGTH),
    "chunks": a_request(CHUNKS),
    "no body": a_request(),
    "two slashes": a_request(target=b"//evil.example/i"),
    "a server that gives no raw path": {"type": "http", "path": "/i", "headers": []},
    "a websocket": a_request(type="websocket"),
    "no request": {"type": "lifespan"},
}


@gates
@pytest.mark.parametrize("scope", PLAIN.values(), ids=PLAIN)
async def test_all_else_goes_on(scope: Scope, gate: Callable[[App], App]) -> None:
    assert await answered(scope, gate) == [{"type": "reached"}]
