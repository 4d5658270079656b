"""An answer on its way to a client that may read slowly: the app is done, and its GPU free, before the client is."""

import asyncio
import contextlib
from collections import deque
from typing import Final

from meltguard.agent.asgi import Message, Send
from meltguard.core.units import Seconds

MOST_BYTES: Final = 4_194_304  # kept for one client: an image of the reference size, also as base64 text


class Outbox:
    """Takes messages at once and sends them behind the app's back, up to a bound."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._sent = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def put(self, message: Message) -> None:
        """Have a message sent; waits only while the bound is exceeded."""
        while self._bytes > MOST_BYTES:
            self._sent.clear()
            await self._sent.wait()
        self._messages.append(message)
        self._bytes += len(message.get("body", b""))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send_all())

    async def flush(self, within: Seconds) -> None:
        """Wait until all is sent; what the client has not read by then it does not get."""
        if self._task is not None and not self._task.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await self._task

    def discard(self) -> None:
        """Send nothing more."""
        if self._task is not None:
            self._task.cancel()

    async def _send_all(self) -> None:
        while self._messages:
            message = self._messages[0]
            with contextlib.suppress(OSError):  # the client is gone, which its intake tells
                await self._send(message)
            self._messages.popleft()
            self._bytes -= len(message.get("body", b""))
            self._sent.set()
