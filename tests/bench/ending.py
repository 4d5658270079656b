"""The end of tasks that go on until they are told."""

import asyncio
from collections.abc import Sequence


async def end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel them. Raises ExceptionGroup: what had gone wrong in them."""
    for task in tasks:
        task.cancel()
    wrong = [one for one in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(one, Exception)]
    if wrong:
        raise ExceptionGroup("what should go on to the end had broken off", wrong)
