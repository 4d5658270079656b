"""Where a request ends must be plain: who reads it otherwise behind us takes its rest for another request."""

from dataclasses import replace

from meltguard.agent.asgi import App, Receive, Scope, Send, problem


class PlainFraming:
    """Refuses requests that give their length in two ways (RFC 9112, 6.1 and 6.3), and closes their connection.

    HTTP/1.1 lets the chunks win; a server behind us, or a proxy before us, may go by the other one.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] == "http" and _has_two_lengths(scope):
            refused = problem(400, "Content-Length and Transfer-Encoding exclude each other: send one of them")
            await replace(refused, headers={"connection": "close"}).send(send)
            return
        await self._app(scope, receive, send)


def _has_two_lengths(scope: Scope) -> bool:
    names = {name.lower() for name, _ in scope["headers"]}
    return {b"content-length", b"transfer-encoding"} <= names
