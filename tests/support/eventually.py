"""Wait for something outside to become true: the only place where tests look again and again."""

import asyncio
from collections.abc import Awaitable, Callable

LOOK_EVERY = 0.01

PATIENCE = 3.0
"""A machine may be slower than ours, and no test judges that: what is waited for is given so many times as long as it
takes here at most."""


def soon(within: float = 8.0) -> asyncio.Timeout:
    """For what comes by itself; TimeoutError if it does not, where it should within so many seconds."""
    return asyncio.timeout(PATIENCE * within)


async def eventually(holds: Callable[[], object], within: float = 8.0) -> None:
    """Return once it holds; TimeoutError if it does not, where it should within so many seconds."""
    async with soon(within):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(LOOK_EVERY)


async def until(holds: Callable[[], Awaitable[object]], within: float = 5.0, every: float = LOOK_EVERY) -> None:
    """The same of something that only asking shows, asked again `every` so many seconds."""
    async with soon(within):
        while not await holds():  # noqa: ASYNC110 - as above
            await asyncio.sleep(every)
