"""Answers who asks about a place of this pod: its state, the events of its way, and the answer, once."""

import json
import math
from typing import Final, NamedTuple

from meltguard.agent.admission import Admission
from meltguard.agent.asgi import Answer, Receive, Send, problem
from meltguard.agent.leaving import left, unless_gone
from meltguard.agent.peers import Peers
from meltguard.agent.place_paths import PlacePath
from meltguard.agent.places import Place, PlaceState, Shelf
from meltguard.core.units import PodUid, Seconds

LONGEST_POLL: Final = 30  # seconds between two polls that are advised
RUNNING_POLL: Final = 2
LOOK_EVERY: Final = Seconds(1.0)  # of an event stream
ENDED: Final = (PlaceState.READY, PlaceState.GONE)
EVENTS: Final = "text/event-stream"
MOST_LISTENERS: Final = 8  # at one place: each holds a connection that gives way to nobody
CROWDED: Final = "as many listen at this place as may; poll it, or end another stream"


class PlaceAsk(NamedTuple):
    """A question about a place."""

    id: str
    owner: str  # who asks
    method: str
    accept: str


class PlaceDesk:
    """All places of an agent, to their owners."""

    def __init__(self, pod: PodUid, admission: Admission, shelf: Shelf, peers: Peers) -> None:
        self._pod, self._admission, self._shelf, self._peers = pod, admission, shelf, peers

    async def answer(self, ask: PlaceAsk, receive: Receive, send: Send) -> None:
        """Tell the place's owner."""
        place = self._shelf.find(ask.id, ask.owner)
        if place is None or place.state is PlaceState.GONE:
            await self._missing(ask).send(send)
        elif ask.method == "DELETE":
            self._shelf.drop(place)
            await Answer(status=204, body=b"").send(send)
        elif ask.method != "GET":
            await problem(405, "a place takes GET and DELETE").send(send)
        elif EVENTS in ask.accept and place.listeners >= MOST_LISTENERS:
            await problem(429, CROWDED).again_after(RUNNING_POLL).send(send)
        elif EVENTS in ask.accept:
            await self._stream(place, receive, send)
        else:
            await self._poll(place, send)

    def told(self, place: Place, applied: tuple[str, str] | None = None) -> Answer:
        """202: where a place is, how far, and when to ask again."""
        members = self._members(place)
        eta = members.get("eta")
        soon = RUNNING_POLL if not isinstance(eta, int) else min(max(eta, 1), LONGEST_POLL)
        most = max(1, int(self._shelf.bounds.heard_within / 2))
        headers = {
            "location": self._path(place),
            "retry-after": str(min(soon, most)),
            "cache-control": "no-store",
            **dict([applied] if applied is not None else []),
        }
        return Answer(status=202, body=json.dumps(members).encode(), headers=headers)

    def _missing(self, ask: PlaceAsk) -> Answer:
        if self._shelf.was(ask.id, ask.owner):
            return problem(
                410, "the answer was fetched already, or nobody asked for it in time; ask for the image anew"
            )
        return problem(404, "you have no such place; ask for an image with Prefer: respond-async")

    async def _poll(self, place: Place, send: Send) -> None:
        place.hear()
        if place.state is not PlaceState.READY or place.start is None:
            await self.told(place).send(send)
            return
        start, body = place.start, b"".join(place.pieces)
        self._shelf.drop(place)
        await send(start)
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, place: Place, receive: Receive, send: Send) -> None:
        """Server-sent events until the answer is ready, the place gone or the listener away."""
        place.listeners += 1  # at once: who asks in the same moment counts it
        try:
            await unless_gone(self._tell(place, send), left(receive))
        finally:
            place.listeners -= 1
            place.hear()

    async def _tell(self, place: Place, send: Send) -> None:
        kind = (b"content-type", EVENTS.encode()), (b"cache-control", b"no-store")
        await send({"type": "http.response.start", "status": 200, "headers": list(kind)})
        told = b""
        while place.state not in ENDED:
            news = self._event(place)
            await send(_body(news if news != told else b":\n\n"))  # a comment keeps proxies from giving up
            told = news
            await place.changed(LOOK_EVERY)
        await send({"type": "http.response.body", "body": self._event(place)})

    def _event(self, place: Place) -> bytes:
        members = self._members(place)
        return f"event: {members['status']}\ndata: {json.dumps(members)}\n\n".encode()

    def _members(self, place: Place) -> dict[str, object]:
        """What a place says: position 1 is the next; eta is in seconds, until the image begins."""
        outlook = place.outlook(self._admission)
        state = PlaceState.WAITING if outlook is not None else place.state
        members: dict[str, object] = {"status": str(state), "place": self._path(place)}
        if outlook is not None:
            members |= {"position": outlook.position, "eta": math.ceil(outlook.wait)}
        return members

    def _path(self, place: Place) -> str:
        return str(PlacePath(self._pod, self._peers.own, place.id))


def _body(piece: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": piece, "more_body": True}
