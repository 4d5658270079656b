"""Work that is for a client only: it ends when the client leaves."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from meltguard.agent.asgi import Receive


async def left(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(work: Coroutine[Any, Any, None], gone: Coroutine[Any, Any, None]) -> None:
    """Do this, and break it off when `gone` returns. Neither outlives the call."""
    async with ended(asyncio.create_task(gone)) as leaving, ended(asyncio.create_task(work)) as working:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working


@asynccontextmanager
async def ended(task: "asyncio.Task[None]") -> AsyncIterator["asyncio.Task[None]"]:
    """A task that does not outlive the block."""
    try:
        yield task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
