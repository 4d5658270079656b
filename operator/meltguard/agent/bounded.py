"""Waits that end. A timer costs more than a decision, so there is one only where there is something to wait for."""

import asyncio
from collections.abc import Awaitable, Generator
from typing import Any, Generic, TypeVar

from meltguard.core.units import Seconds

T = TypeVar("T")


async def bounded(awaitable: Awaitable[T], most: Seconds) -> T:
    """Await something for at most so long, in this task. What needs no waiting is done at once and costs no timer.

    Raises:
        TimeoutError: it was not ready in time; it has been cancelled.
    """
    steps = awaitable.__await__()
    try:
        first = next(steps)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return] # what a generator returns has no type
    async with asyncio.timeout(most):
        return await _Rest(first, steps)


class _Rest(Generic[T]):
    """What is left of an awaitable whose first step was taken: it waits for `first`."""

    def __init__(self, first: Any, steps: Generator[Any, Any, T]) -> None:
        self._first, self._steps = first, steps

    def __await__(self) -> Generator[Any, Any, T]:
        waits_for = self._first
        while True:
            try:
                yield waits_for
            except BaseException as exc:  # noqa: BLE001 - a cancellation, and it is handed on
                try:
                    waits_for = self._steps.throw(exc)
                except StopIteration as done:
                    return done.value  # type: ignore[no-any-return] # as above
            else:
                return (yield from self._steps)
