"""Stands before all that asks who calls: finds it out once, and lets nobody speak in our name."""

from meltguard.agent.asgi import Answer, App, Receive, Scope, Send
from meltguard.agent.caller import CALLER, Caller, Identify
from meltguard.agent.own_headers import OwnHeaders
from meltguard.agent.settings import Callers


class IdentityMiddleware:
    """Gives each scope its caller, and to the app behind only the identity headers that are ours."""

    def __init__(self, app: App, identify: Identify, callers: Callers) -> None:
        self._app, self._identify = app, identify
        self._open, self._own = callers.open_paths, OwnHeaders(callers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        if scope["path"] in self._open:
            await self._app({**scope, "headers": self._own.without(scope["headers"])}, receive, send)
            return
        found = self._identify(scope)
        caller = found if isinstance(found, Caller | Answer) else await found
        if isinstance(caller, Caller):
            headers = self._own.of(scope["headers"], caller)
            await self._app({**scope, CALLER: caller, "headers": headers}, receive, send)
        elif scope["type"] == "http":
            await caller.send(send)
        else:
            await send({"type": "websocket.close", "code": 1008})
