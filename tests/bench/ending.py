"""The end of tasks that go on until they are told."""

import asyncio
from collections.abc import Sequence


async def end(tasks: Sequence[asyncio.Task[None]]) -> list[Exception]:
    """Cancel them; what had gone wrong in them."""
    for task in tasks:
        task.cancel()
    return [one for one in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(one, Exception)]
