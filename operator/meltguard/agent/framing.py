"""Where a request goes and where it ends must be plain: else who reads it behind us reads another one."""

from dataclasses import replace

from meltguard.agent.asgi import App, Receive, Scope, Send, problem

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
        wrong = _doubt(scope)
        if wrong is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await replace(problem(400, wrong), headers={"connection": "close"}).send(send)
        else:
            await send({"type": "websocket.close", "code": 1008})


def _doubt(scope: Scope) -> str | None:
    """What can be read in two ways; None where all is plain."""
    if scope["type"] not in {"http", "websocket"}:
        return None
    target: bytes = scope.get("raw_path") or scope["path"].encode()
    if not target.startswith(b"/") or b"#" in target:
        return TARGET
    names = {name.lower() for name, _ in scope["headers"]}
    return LENGTHS if {b"content-length", b"transfer-encoding"} <= names else None
