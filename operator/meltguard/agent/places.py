"""Places to poll: requests that go on without their connection, and their answers, kept for their owners. Bounded."""

import asyncio
import secrets
from collections import Counter, OrderedDict
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from meltguard.agent.admission import Admission
from meltguard.agent.asgi import Message, Receive, Send
from meltguard.agent.refusal import ELSEWHERE
from meltguard.agent.settings import PlaceBounds
from meltguard.agent.turns import Outlook, Ticket
from meltguard.core.units import Seconds

ASK_ANOTHER: Final = ELSEWHERE.encode()
"""Not kept: what is fetched from a place is only here, and a proxy must not go elsewhere for it."""

LEAVE_WITHIN: Final = Seconds(0.5)
ENDED_KNOWN: Final = 4_096  # places that are gone and answer 410; older ones answer 404


class PlaceState(StrEnum):
    """How far a request is."""

    WAITING = "waiting"
    RUNNING = "running"
    READY = "ready"  # its answer may be fetched, once
    GONE = "gone"


class Place:
    """One request that outlives its connection. It is the client, as far as the agent's other parts can tell."""

    def __init__(self, owner: str, receive: Receive, send: Send, shelf: "Shelf") -> None:
        self.id = secrets.token_urlsafe(24)
        self.owner = owner
        self._receive, self._send, self._shelf = receive, send, shelf
        self.detached = False
        self.answering = False  # the client's own connection gets the answer
        self._body_read = False
        self._given_up = asyncio.Event()
        self._changed = asyncio.Event()
        self.ticket: Ticket | None = None
        self.work: asyncio.Task[None] | None = None  # that answers the request
        self.state = PlaceState.RUNNING
        self.start: Message | None = None
        self.pieces: list[bytes] = []
        self.size = 0
        self.heard = asyncio.get_running_loop().time()
        self.listeners = 0  # event streams

    async def receive(self) -> Message:
        """The request's `receive`: its client is there until the place is given up."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and self.detached:
            await self._given_up.wait()
        elif message["type"] == "http.request":
            self._body_read = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """The request's `send`: to the client while it is connected, else to be fetched."""
        if not self.detached:
            self.answering = True
            await self._send(message)
        elif not self._given_up.is_set():
            self._keep(message)

    def waits(self, ticket: Ticket) -> None:
        """The request has a place in the line."""
        self.ticket = ticket

    def outlook(self, admission: Admission) -> Outlook | None:
        """How long it still waits, and behind how many; None where it does not wait any more."""
        return admission.outlook(self.ticket) if self.ticket is not None else None

    def detach(self) -> bool:
        """Go on without the client's connection; False where it is too late or too early for that."""
        if self.answering or not self._body_read:
            return False
        self.detached = True
        return True

    def hear(self) -> None:
        """The client asked."""
        self.heard = asyncio.get_running_loop().time()

    def give_up(self) -> None:
        """Nobody wants the answer: leave the line, or the GPU, also where an app does not look who is there.

        Whoever has made the answer already may still have something to do after it.
        """
        made = self.state is PlaceState.READY
        self._given_up.set()
        self._end(PlaceState.GONE)
        if self.work is not None and not made:
            asyncio.get_running_loop().call_later(LEAVE_WITHIN, self.work.cancel)

    async def reply(self, message: Message) -> None:
        """Send to the client itself, whose connection is still there."""
        await self._send(message)

    async def changed(self, within: Seconds) -> None:
        """Return when the answer is ready or the place gone, or after `within` seconds."""
        try:
            async with asyncio.timeout(within):
                await self._changed.wait()
        except TimeoutError:
            return

    def _keep(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.start = {**message, "headers": [one for one in message.get("headers", ()) if one[0] != ASK_ANOTHER]}
            return
        piece = message.get("body", b"")
        if not self._shelf.has_room(self, len(piece)):
            self.give_up()
            return
        self.pieces.append(piece)
        self.size += len(piece)
        if not message.get("more_body", False):
            self._end(PlaceState.READY)

    def _end(self, state: PlaceState) -> None:
        self.state = state
        self._changed.set()


class Shelf:
    """All places of an agent."""

    def __init__(self, bounds: PlaceBounds) -> None:
        self.bounds = bounds
        self._places: dict[str, Place] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()  # to their owners
        self._of_user: Counter[str] = Counter()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.given = 0  # since the start
        self.refused = 0  # requests that wanted one when there were too many

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places.values())

    def __len__(self) -> int:
        return len(self._places)

    def has_room(self, place: Place, more: int) -> bool:
        """Whether an answer may grow by so many bytes."""
        return place.size + more <= self.bounds.most_bytes and self.kept + more <= self.bounds.all_bytes

    @property
    def kept(self) -> int:
        """Bytes of all answers."""
        return sum(each.size for each in self._places.values())

    def add(self, place: Place) -> bool:
        """Keep a place; False where there are too many, of all or of its owner."""
        full = len(self._places) >= self.bounds.most or self._of_user[place.owner] >= self.bounds.most_of_user
        self.refused += full
        if full or not place.detach():
            return False
        self.given += 1
        self._places[place.id] = place
        self._of_user[place.owner] += 1
        self._watch(place, self.bounds.heard_within)
        return True

    def find(self, place_id: str, owner: str) -> Place | None:
        """An owner's place; another's is as unknown as one that never was."""
        place = self._places.get(place_id)
        return place if place is not None and place.owner == owner else None

    def was(self, place_id: str, owner: str) -> bool:
        """Whether this was an owner's place, and is gone."""
        return self._ended.get(place_id) == owner

    def finished(self, place: Place) -> None:
        """The request's work ended, perhaps without an answer."""
        if place.state is PlaceState.READY:
            place.hear()
            self._watch(place, self.bounds.kept_for)
        elif place.id in self._places:
            self.drop(place)

    def drop(self, place: Place) -> None:
        """Forget a place and its answer."""
        if self._places.pop(place.id, None) is None:
            return
        self._rewind(place.id, None)
        self._of_user -= Counter({place.owner: 1})
        self._ended[place.id] = place.owner
        if len(self._ended) > ENDED_KNOWN:
            self._ended.popitem(last=False)
        place.give_up()

    def close(self) -> None:
        """Forget all."""
        for place in list(self._places.values()):
            self.drop(place)

    def _watch(self, place: Place, span: Seconds) -> None:
        """Drop a place that nobody has asked about for a span; listeners count as asking."""
        loop = asyncio.get_running_loop()
        if place.listeners:
            place.hear()
        left = place.heard + span - loop.time()
        if left <= 0:
            self.drop(place)
        else:
            self._rewind(place.id, loop.call_later(left, self._watch, place, span))

    def _rewind(self, place_id: str, timer: asyncio.TimerHandle | None) -> None:
        before = self._timers.pop(place_id, None)
        if before is not None:
            before.cancel()
        if timer is not None:
            self._timers[place_id] = timer
