"""Requests that wait longer than connections last: 202 and a place to poll or listen at (RFC 7240)."""

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Iterator
from typing import Final

from meltguard.agent.admission import Admission
from meltguard.agent.asgi import Answer, App, Receive, Scope, Send, headers_of, problem
from meltguard.agent.caller import CALLER
from meltguard.agent.head import HEAD, PREFER, Head
from meltguard.agent.middleware import WAITS
from meltguard.agent.places import Place, PlaceState, Shelf
from meltguard.agent.settings import AgentSettings
from meltguard.core.units import Seconds

log = logging.getLogger(__name__)

PREFIX: Final = "/meltguard/places/"
PROMPT: Final = Seconds(0.2)  # who prefers a place gets a refusal, or a quick image, directly all the same
LONGEST_PREFERRED: Final = 600.0
LONGEST_POLL: Final = 30  # seconds between two polls that are advised
RUNNING_POLL: Final = 2
LOOK_EVERY: Final = Seconds(1.0)  # of an event stream
CLOSE_WITHIN: Final = Seconds(2.0)
ENDED: Final = (PlaceState.READY, PlaceState.GONE)


class PlacesMiddleware:
    """Stands before the admission; requests that nobody wants a place for pass untouched."""

    def __init__(self, guarded: App, admission: Admission, settings: AgentSettings, shelf: Shelf) -> None:
        self._guarded, self._admission, self.shelf = guarded, admission, shelf
        self._bounds, self._open = settings.places, settings.callers.open_paths
        self._prefix = f"{PREFIX}{settings.pod_uid}/"
        self._work: set[asyncio.Task[None]] = set()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one connection scope."""
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            return self._asked(scope, receive, send)
        within = self._direct_within(scope)
        if within is None:
            return self._guarded(scope, receive, send)
        return self._serve(scope, Place(scope[CALLER].owner, receive, send, self.shelf), within)

    async def close(self) -> None:
        """End what goes on without a connection: nobody can fetch it any more."""
        self.shelf.close()
        if self._work:
            await asyncio.wait(self._work, timeout=CLOSE_WITHIN)
        for task in self._work:
            task.cancel()

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
            if work.done() or not self.shelf.add(place):
                await asyncio.shield(work)
                return
        except asyncio.CancelledError:
            work.cancel()
            raise
        await self._told(place, applied=("preference-applied", "respond-async")).send(place.reply)

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
            self.shelf.finished(place)

    async def _asked(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer who asks about a place."""
        path, owner = scope["path"], scope[CALLER].owner
        if not path.startswith(self._prefix):
            await problem(421, "this place is at another pod: route by the path's third part, the pod").send(send)
            return
        place_id = path.removeprefix(self._prefix)
        place = self.shelf.find(place_id, owner)
        if place is None or place.state is PlaceState.GONE:
            await self._missing(place_id, owner).send(send)
        elif scope["method"] == "DELETE":
            self.shelf.drop(place)
            await Answer(status=204, body=b"").send(send)
        elif scope["method"] != "GET":
            await problem(405, "a place takes GET and DELETE").send(send)
        elif "text/event-stream" in headers_of(scope).get("accept", ""):
            await self._stream(place, receive, send)
        else:
            await self._poll(place, send)

    def _missing(self, place_id: str, owner: str) -> Answer:
        if self.shelf.was(place_id, owner):
            return problem(
                410, "the answer was fetched already, or nobody asked for it in time; ask for the image anew"
            )
        return problem(404, "you have no such place; ask for an image with Prefer: respond-async")

    async def _poll(self, place: Place, send: Send) -> None:
        place.hear()
        if place.state is not PlaceState.READY or place.start is None:
            await self._told(place).send(send)
            return
        start, body = place.start, b"".join(place.pieces)
        self.shelf.drop(place)
        await send(start)
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, place: Place, receive: Receive, send: Send) -> None:
        """Server-sent events until the answer is ready, the place gone or the listener away."""
        kind = (b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")
        await send({"type": "http.response.start", "status": 200, "headers": list(kind)})
        gone = asyncio.create_task(_left(receive))
        place.listeners += 1
        try:
            told = b""
            while place.state not in ENDED and not gone.done():
                news = self._event(place)
                await send(_body(news if news != told else b":\n\n"))  # a comment keeps proxies from giving up
                told = news
                await place.changed(LOOK_EVERY)
            await send({"type": "http.response.body", "body": self._event(place)})
        finally:
            place.listeners -= 1
            place.hear()
            gone.cancel()

    def _event(self, place: Place) -> bytes:
        return f"event: {self._state(place)}\ndata: {json.dumps(self._members(place))}\n\n".encode()

    def _told(self, place: Place, applied: tuple[str, str] | None = None) -> Answer:
        members = self._members(place)
        eta = members.get("eta")
        soon = RUNNING_POLL if not isinstance(eta, int) else min(max(eta, 1), LONGEST_POLL)
        most = max(1, int(self._bounds.heard_within / 2))
        headers = {
            "location": self._prefix + place.id,
            "retry-after": str(min(soon, most)),
            "cache-control": "no-store",
            **dict([applied] if applied is not None else []),
        }
        return Answer(status=202, body=json.dumps(members).encode(), headers=headers)

    def _members(self, place: Place) -> dict[str, object]:
        """What a place says: position 1 is the next; eta is in seconds, until the image begins."""
        members: dict[str, object] = {"status": str(self._state(place)), "place": self._prefix + place.id}
        outlook = place.outlook(self._admission)
        if outlook is not None:
            members |= {"position": outlook.position, "eta": math.ceil(outlook.wait)}
        return members

    def _state(self, place: Place) -> PlaceState:
        return PlaceState.WAITING if place.outlook(self._admission) is not None else place.state


def _preferences(scope: Scope) -> Iterator[tuple[str, str]]:
    """The preferences of RFC 7240, names in lower case, without their parameters."""
    for name, value in scope["headers"]:
        if name == b"prefer":  # servers give names in lower case
            for part in value.decode("latin-1").split(","):
                word, _, setting = part.partition(";")[0].partition("=")
                yield word.strip().lower(), setting.strip().strip('"')


def _body(piece: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": piece, "more_body": True}


async def _left(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
