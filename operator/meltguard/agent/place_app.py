"""Requests that wait longer than connections last: 202 and a place to poll or listen at (RFC 7240)."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Iterator
from typing import Final

from meltguard.agent.agent import Agent
from meltguard.agent.asgi import App, Receive, Scope, Send, headers_of, problem
from meltguard.agent.caller import CALLER
from meltguard.agent.head import HEAD, PREFER, Head
from meltguard.agent.middleware import WAITS
from meltguard.agent.place_desk import PlaceAsk
from meltguard.agent.place_paths import PREFIX, PlacePath
from meltguard.agent.places import Place
from meltguard.core.units import Seconds

log = logging.getLogger(__name__)

PROMPT: Final = Seconds(0.2)  # who prefers a place gets a refusal, or a quick image, directly all the same
LONGEST_PREFERRED: Final = 600.0
CLOSE_WITHIN: Final = Seconds(2.0)


class PlacesMiddleware:
    """Stands before the admission; requests that nobody wants a place for pass untouched."""

    def __init__(self, guarded: App, agent: Agent) -> None:
        settings = agent.settings
        self._guarded, self._shelf, self._desk = guarded, agent.shelf, agent.place_desk
        self._pod, self._bounds, self._open = settings.pod_uid, settings.places, settings.callers.open_paths
        self._relay = agent.place_relay
        self._work: set[asyncio.Task[None]] = set()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one connection scope."""
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            return self._asked(scope, receive, send)
        within = self._direct_within(scope)
        if within is None:
            return self._guarded(scope, receive, send)
        return self._serve(scope, Place(scope[CALLER].owner, receive, send, self._shelf), within)

    async def close(self) -> None:
        """End what goes on without a connection: nobody can fetch it any more."""
        self._shelf.close()
        if self._work:
            await asyncio.wait(self._work, timeout=CLOSE_WITHIN)
        for task in self._work:
            task.cancel()
        await self._relay.close()

    def _direct_within(self, scope: Scope) -> Seconds | None:
        """Seconds to wait for an answer on the connection before a place is given; None where none is."""
        if scope["type"] != "http" or scope["path"] in self._open:
            return None
        head: Head = scope[HEAD]
        preferences = dict(_preferences(scope)) if PREFER in head else {}
        if "respond-async" not in preferences:
            return self._bounds.after
        wait = preferences.get("wait", "")
        asked = min(float(wait), LONGEST_PREFERRED) if wait.isdecimal() else 0.0
        return Seconds(min(max(PROMPT, asked), self._bounds.after or math.inf))

    async def _serve(self, scope: Scope, place: Place, within: Seconds) -> None:
        work = asyncio.create_task(self._run({**scope, WAITS: place.waits}, place))
        place.work = work
        self._work.add(work)
        work.add_done_callback(self._work.discard)
        try:
            await asyncio.wait({work}, timeout=within)
            if work.done() or not self._shelf.add(place):
                await asyncio.shield(work)
                return
        except asyncio.CancelledError:
            work.cancel()
            raise
        await self._desk.told(place, applied=("preference-applied", "respond-async")).send(place.reply)

    async def _run(self, scope: Scope, place: Place) -> None:
        try:
            await self._guarded(scope, place.receive, place.send)
        except Exception:
            if not place.detached:
                raise
            log.exception("an image server's app failed after its client was given a place")
            if place.start is None:
                await problem(500, "the image server failed; ask for the image anew").send(place.send)
        finally:
            self._shelf.finished(place)

    async def _asked(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer who asks about a place, or have its pod's agent do so."""
        path = PlacePath.parse(scope["path"])
        ask = PlaceAsk(path.id, scope[CALLER].owner, scope["method"], headers_of(scope).get("accept", ""))
        if path.pod == self._pod:
            await self._desk.answer(ask, receive, send)
        else:
            await self._relay.pass_on(path, ask, receive, send)


def _preferences(scope: Scope) -> Iterator[tuple[str, str]]:
    """The preferences of RFC 7240, names in lower case, without their parameters."""
    for name, value in scope["headers"]:
        if name == b"prefer":  # servers give names in lower case
            for part in value.decode("latin-1").split(","):
                word, _, setting = part.partition(";")[0].partition("=")
                yield word.strip().lower(), setting.strip().strip('"')
