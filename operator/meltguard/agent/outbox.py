"""An answer on its way to a client that may read slowly: the app is done, and its GPU free, before the client is."""

import asyncio
import contextlib
from collections import deque
from typing import Final

from meltguard.agent.asgi import Message, Send
from meltguard.agent.bounded import Rest, first_step, within
from meltguard.agent.clients import SMALL, HeldBytes, Trouble
from meltguard.core.units import Seconds

MOST_BYTES: Final = 4_194_304  # kept for one client: an image of the reference size, also as base64 text


async def taken(rest: Rest[None], most: Seconds) -> None:
    """Wait until a client has taken what is sent, if it does within so long."""
    with contextlib.suppress(TimeoutError):
        await within(rest, most)


class Outbox:
    """Takes messages at once and sends them behind the app's back, up to a bound.

    Most apps are done with their last message: it is sent then, without a task. A task begins where an app goes on.
    """

    __slots__ = ("_bytes", "_counted", "_given_up", "_held", "_messages", "_room", "_send", "_sent", "_soon", "_task")

    def __init__(self, send: Send, room: HeldBytes | None = None) -> None:
        self._send, self._room = send, room
        self._counted = False  # among what is kept for all clients
        self._given_up = False  # others needed the room: the answer stays incomplete
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._held = False  # the app is at its first step, perhaps its last
        self._sent: asyncio.Event | None = None  # while an app waits for room
        self._soon: asyncio.Handle | None = None  # begins the task
        self._task: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Whether the bound is exceeded: wait for room."""
        return self._bytes > MOST_BYTES

    async def room(self) -> None:
        """Wait until enough was sent."""
        while self.full:
            self._sent = asyncio.Event()
            await self._sent.wait()

    def put(self, message: Message) -> None:
        """Have a message sent soon."""
        if self._given_up:
            return
        self._messages.append(message)
        self._bytes += len(message.get("body", b""))
        if not self._held:
            self._count()
            self._send_soon()

    def hold(self) -> None:
        """The app begins."""
        self._held = True

    def release(self) -> None:
        """The app goes on later: what it has put is sent meanwhile."""
        self._held = False
        if self._messages:
            self._send_soon()

    def flush_at_once(self) -> Rest[None] | None:
        """Send what the client takes at once; else what is left to wait for."""
        if self._soon is not None:
            self._stay()
        rest = first_step(self._send_all() if self._task is None or self._task.done() else self._task)
        if rest is not None:
            self._count()
        return rest

    async def flush(self, most: Seconds) -> None:
        """Wait until all is sent; what the client has not read by then it does not get."""
        rest = self.flush_at_once()
        if rest is not None:
            await taken(rest, most)

    def discard(self) -> None:
        """Send nothing more."""
        self._stay()
        self._drop()
        if self._task is not None:
            self._task.cancel()

    def _send_soon(self) -> None:
        if self._soon is None and (self._task is None or self._task.done()):
            self._soon = asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._soon = None
        self._task = asyncio.create_task(self._send_all())

    def _stay(self) -> None:
        """Begin no task."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None

    async def _send_all(self) -> None:
        while self._messages:
            message = self._messages[0]
            try:
                await self._send(message)
            except OSError:  # the client is gone, which its intake tells
                self._drop()
            else:
                if not self._given_up:
                    self._messages.popleft()
                    self._bytes -= len(message.get("body", b""))
                if self._counted:
                    self._count()
            if self._sent is not None:
                self._sent.set()

    def _count(self) -> None:
        """Have what is kept counted among that of all clients."""
        if self._room is None:
            return
        self._counted = self._bytes > SMALL
        if self._counted:
            self._room.unfinished(self, self._bytes, Trouble.ANSWERS, self._give_up)
        else:
            self._room.let_go(self)

    def _give_up(self) -> None:
        """Send nothing more: others need the room. The server ends the connection of an incomplete answer."""
        self._given_up = True
        self._drop()
        if self._sent is not None:
            self._sent.set()

    def _drop(self) -> None:
        self._messages.clear()
        self._bytes = 0
        if self._counted:
            self._count()
