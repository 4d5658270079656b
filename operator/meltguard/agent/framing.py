"""Where a request goes and where it ends must be plain: else who reads it behind us reads another one."""

from collections.abc import Container
from dataclasses import replace

from meltguard.agent.asgi import Answer, App, Receive, Scope, Send, problem
from meltguard.agent.head import LENGTH, TRANSFER

LENGTHS = "Content-Length and Transfer-Encoding exclude each other: send one of them"
TARGET = "the request's target is no path: send one that begins with / and has no #"


class PlainFraming:
    """Refuses what can be read in two ways, and closes its connection.

    A length given twice (RFC 9112, 6.1 and 6.3): HTTP/1.1 lets the chunks win; a server behind us, or a proxy before
    us, may go by the other one. A target that is no path (3.2): put after a server's address, `@host/x` is a path of
    another server.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        is_request = scope["type"] in {"http", "websocket"}
        wrong = doubt(scope, {name.lower() for name, _ in scope["headers"]}) if is_request else None
        if wrong is None:
            await self._app(scope, receive, send)
        else:
            await turned_away(scope, unclear(wrong), send)


def doubt(scope: Scope, names: Container[bytes]) -> str | None:
    """What of a request with headers of these names can be read in two ways; None where all is plain."""
    target: bytes = scope.get("raw_path") or scope["path"].encode()
    if not target.startswith(b"/") or b"#" in target:
        return TARGET
    return LENGTHS if TRANSFER in names and LENGTH in names else None


def unclear(wrong: str) -> Answer:
    """The answer to what can be read in two ways; its connection ends."""
    return replace(problem(400, wrong), headers={"connection": "close"})


async def turned_away(scope: Scope, answer: Answer, send: Send) -> None:
    """Answer a request, or close a WebSocket, that goes no further."""
    if scope["type"] == "http":
        await answer.send(send)
    else:
        await send({"type": "websocket.close", "code": 1008})
