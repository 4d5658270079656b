"""A request's body and its client's leaving, read ahead without losing anything for the app."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from meltguard.agent.asgi import Message, Receive
from meltguard.agent.bounded import bounded
from meltguard.agent.turns import Ticket
from meltguard.core.units import Seconds

READ_AHEAD: Final = 1_048_576  # bytes kept of a body; a longer one streams while its request is in the GPU


class Intake:
    """Stands between the server's `receive` and the app's."""

    __slots__ = ("_complete", "_kept", "_kept_bytes", "_pump", "_receive", "_stirred", "_waits", "_when_gone", "gone")

    def __init__(self, receive: Receive, waits: Callable[[Ticket], None] | None = None) -> None:
        self._receive, self._waits = receive, waits
        self._kept: deque[Message] = deque()
        self._kept_bytes = 0
        self._complete = False  # the whole body was read from the server
        self._pump: asyncio.Task[None] | None = None
        self._stirred: asyncio.Event | None = None  # while the pump runs
        self._when_gone: list[Callable[[], None]] = []
        self.gone = False

    async def fill(self, most: int, within: Seconds) -> None:
        """Read the body ahead, up to `most` bytes: a slow upload must not hold a GPU.

        Raises:
            TimeoutError: it did not come in time.
            ConnectionError: the client left.
        """
        await bounded(self._read(most), within)
        if self.gone:
            raise ConnectionError("the client left before its request was whole")

    async def _read(self, most: int) -> None:
        while not self._complete and self._kept_bytes <= most and not self.gone:
            self._keep(await self._receive())

    def body(self, most: int) -> bytes | None:
        """The body, kept for the app; None where it was not read whole or is longer than `most`."""
        if not self._complete or self._kept_bytes > most:
            return None
        return b"".join(message.get("body", b"") for message in self._kept)

    def watch(self, when_gone: Callable[[], None]) -> None:
        """Call back when the client leaves; at once if it has left."""
        if self.gone:
            when_gone()
            return
        self._when_gone.append(when_gone)
        if self._pump is None:
            self._stirred = asyncio.Event()
            self._pump = asyncio.create_task(self._read_ahead(self._stirred))

    def waits(self, ticket: Ticket) -> None:
        """The request has a place in the line."""
        if self._waits is not None:
            self._waits(ticket)

    async def receive(self) -> Message:
        """The app's `receive`."""
        if self._pump is None and not self._kept:
            message = await self._receive()
            self._note(message)
            return message
        while self._stirred is not None and not self._kept and not self.gone:
            self._stirred.clear()
            await self._stirred.wait()
        if not self._kept:
            return {"type": "http.disconnect"}
        message = self._kept.popleft()
        self._kept_bytes -= len(message.get("body", b""))
        self._stir()
        return message

    def close(self) -> None:
        """The request has ended."""
        self._when_gone.clear()
        if self._pump is not None:
            self._pump.cancel()

    async def _read_ahead(self, stirred: asyncio.Event) -> None:
        while not self.gone:
            if not self._complete and self._kept_bytes >= READ_AHEAD:
                stirred.clear()
                await stirred.wait()
                continue
            self._keep(await self._receive())

    def _keep(self, message: Message) -> None:
        self._note(message)
        if message["type"] == "http.request":
            self._kept.append(message)
            self._kept_bytes += len(message.get("body", b""))
        self._stir()

    def _stir(self) -> None:
        """Whoever waits for a message, or for room, looks again."""
        if self._stirred is not None:
            self._stirred.set()

    def _note(self, message: Message) -> None:
        if message["type"] == "http.disconnect":
            self.gone = True
            for callback in self._when_gone:
                callback()
            self._when_gone.clear()
        elif not message.get("more_body", False):
            self._complete = True
