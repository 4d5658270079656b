"""Wait for something outside to become true: the only place where tests look again and again."""

import asyncio
from collections.abc import Callable

LOOK_EVERY = 0.01


async def eventually(holds: Callable[[], object], within: float = 8.0) -> None:
    """Return once it holds; TimeoutError if it does not within so many seconds."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(LOOK_EVERY)
