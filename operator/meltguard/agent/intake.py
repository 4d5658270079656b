"""A request's body and its client's leaving, read ahead without losing anything for the app."""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from meltguard.agent.asgi import Message, Receive, problem
from meltguard.agent.bounded import Rest, bounded, first_step
from meltguard.agent.clients import SMALL, HeldBytes, Trouble
from meltguard.agent.turns import Ticket
from meltguard.core.units import Seconds

READ_AHEAD: Final = 1_048_576  # bytes kept of a body; a longer one streams while its request is in the GPU

FOR_EVER: Final = Seconds(math.inf)
EARNED: Final = 0.1  # share of the time for the first READ_AHEAD bytes that as many further ones are given

CROWDED: Final = replace(
    problem(503, "many large or slow bodies are on their way here; send it again, faster if you can"),
    headers={"connection": "close"},
).again_after(5)


class Crowded(Exception):
    """The body was given up: bodies and answers of others fill the memory that is for them."""


class Intake:
    """Stands between the server's `receive` and the app's."""

    __slots__ = (
        "_begun",
        "_complete",
        "_counted",
        "_ended",
        "_held",
        "_kept",
        "_kept_bytes",
        "_patience",
        "_pump",
        "_reader",
        "_receive",
        "_stirred",
        "_waits",
        "_when_gone",
        "_within",
        "crowded",
        "gone",
        "late",
    )

    def __init__(
        self, receive: Receive, waits: Callable[[Ticket], None] | None = None, held: HeldBytes | None = None
    ) -> None:
        self._receive, self._waits, self._held = receive, waits, held
        self._kept: deque[Message] = deque()
        self._kept_bytes = 0
        self._complete = False  # the whole body was read from the server
        self._pump: asyncio.Task[None] | None = None
        self._stirred: asyncio.Event | None = None  # while the pump runs
        self._when_gone: list[Callable[[], None]] = []
        self._within = self._patience = FOR_EVER
        self._begun: Rest[Message] | None = None  # reading it, in vain as yet
        self._ended = False
        self._counted = False  # among what is kept for all clients
        self._reader: asyncio.Task[Any] | None = None  # reads ahead before the request is admitted
        self.crowded = False  # its body was given up
        self.gone = False
        self.late = False  # it was too slow and counts as gone

    def done(self) -> bool:
        """Whether the request has ended: it holds no slot any more."""
        return self._ended

    def fill_at_once(self) -> bool:
        """Read the body if it is there already, whole and in one piece, as nearly all are; else `fill`."""
        first = first_step(self._receive())
        if isinstance(first, Rest):
            self._begun = first
            return False
        self._keep(first)
        return self._complete and not self.crowded

    async def fill(self, most: int, within: Seconds) -> None:
        """Read the body ahead, up to `most` bytes: a slow upload must not hold a GPU.

        What is longer streams into a GPU that waits for it: the client may keep it waiting as long again, and a tenth
        of that for each further READ_AHEAD bytes. Then it counts as gone.

        Raises:
            TimeoutError: it did not come in time.
            ConnectionError: the client left.
            Crowded: the body was given up to make room.
        """
        self._within = self._patience = within
        self._reader = asyncio.current_task()
        try:
            await bounded(self._read(most), within)
        except asyncio.CancelledError:
            if not self.crowded or self._reader is None:
                raise
            self._reader.uncancel()
        finally:
            self._reader = None
        if self.crowded:
            raise Crowded
        if self.gone:
            raise ConnectionError("the client left before its request was whole")

    async def _read(self, most: int) -> None:
        while not self._complete and self._kept_bytes <= most and not self.gone and not self.crowded:
            begun, self._begun = self._begun, None
            self._keep(await (begun or self._receive()))

    def body(self, most: int) -> bytes | None:
        """The body, kept for the app; None where it was not read whole or is longer than `most`."""
        if not self._complete or self._kept_bytes > most:
            return None
        if len(self._kept) == 1:
            whole: bytes = self._kept[0].get("body", b"")
            return whole
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
            message = await self._next()
            self._note(message)
            return message
        while self._stirred is not None and not self._kept and not self.gone:
            self._stirred.clear()
            await self._stirred.wait()
        if not self._kept:
            return {"type": "http.disconnect"}
        message = self._kept.popleft()
        self._kept_bytes -= len(message.get("body", b""))
        if self._counted and self._kept_bytes <= SMALL:
            self._let_go()
        self._stir()
        return message

    def close(self) -> None:
        """The request has ended."""
        self._ended = True
        self._when_gone.clear()
        if self._counted:
            self._let_go()
        if self._pump is not None:
            self._pump.cancel()

    async def _read_ahead(self, stirred: asyncio.Event) -> None:
        while not self.gone:
            if not self._complete and self._kept_bytes >= READ_AHEAD:
                stirred.clear()
                await stirred.wait()
                continue
            self._keep(await self._next())

    async def _next(self) -> Message:
        """The client's next message; while its body is not whole, only as long as there is patience with it."""
        if self._complete:
            return await self._receive()
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            message = await bounded(self._receive(), self._patience)
        except TimeoutError:
            self.late = True
            return {"type": "http.disconnect"}
        earned = self._within * EARNED * len(message.get("body", b"")) / READ_AHEAD
        self._patience = Seconds(max(0.0, self._patience - (loop.time() - began) + earned))
        return message

    def _keep(self, message: Message) -> None:
        self._note(message)
        if message["type"] == "http.request":
            self._kept.append(message)
            self._kept_bytes += len(message.get("body", b""))
            if self._kept_bytes > SMALL and self._held is not None:
                self._hold(self._held)
        self._stir()

    def _hold(self, held: HeldBytes) -> None:
        """Have what is kept counted."""
        self._counted = True
        if self._complete:
            held.whole(self, self._kept_bytes, self._give_up)
        else:
            held.unfinished(self, self._kept_bytes, Trouble.BODIES, self._give_up)

    def _let_go(self) -> None:
        self._counted = False
        if self._held is not None:
            self._held.let_go(self)

    def _give_up(self) -> None:
        """Keep nothing: others need the room. Whoever reads ahead is told so, else the client counts as gone."""
        self.crowded = True
        self._kept.clear()
        self._kept_bytes = 0
        if self._reader is None:
            self.late = True
            self._note({"type": "http.disconnect"})
        elif self._reader is not asyncio.current_task():
            self._reader.cancel()
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
