"""Stands before all that asks who calls: finds it out once, and lets nobody speak in our name."""

from typing import Final

from meltguard.agent.asgi import Answer, App, Receive, Scope, Send
from meltguard.agent.caller import CALLER, Caller, Identify
from meltguard.agent.framing import doubt, turned_away, unclear
from meltguard.agent.head import HEAD
from meltguard.agent.own_headers import OwnHeaders
from meltguard.agent.settings import Callers

KINDS: Final = frozenset(("http", "websocket"))


class IdentityMiddleware:
    """Gives each scope its head and its caller, and to the app behind only the identity headers that are ours.

    It reads the headers, once for all behind it, so it also refuses what can be read in two ways.
    """

    def __init__(self, app: App, identify: Identify, callers: Callers) -> None:
        self._app, self._identify = app, identify
        self._open, self._own = callers.open_paths, OwnHeaders(callers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] not in KINDS:
            await self._app(scope, receive, send)
            return
        head = self._own.read(scope["headers"])
        wrong = doubt(scope, head)
        if wrong is not None:
            await turned_away(scope, unclear(wrong), send)
            return
        known = {**scope, HEAD: head}
        if scope["path"] in self._open:
            known["headers"] = head.passed
            await self._app(known, receive, send)
            return
        found = self._identify(known)
        caller = found if isinstance(found, Caller | Answer) else await found
        if isinstance(caller, Answer):
            await turned_away(scope, caller, send)
            return
        known[CALLER], known["headers"] = caller, self._own.handed_on(head, caller)
        await self._app(known, receive, send)
