"""Waits that end. A timer costs more than a decision, so there is one only where there is something to wait for."""

import asyncio
from collections.abc import Awaitable, Generator
from typing import Any, Generic, TypeVar

from meltguard.core.units import Seconds

T = TypeVar("T")


class TooLong(TimeoutError):
    """It took longer than it may here."""


class Rest(Generic[T]):
    """What is left of an awaitable whose first step was taken: it waits for `first`."""

    __slots__ = ("_first", "_steps")

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
                    return done.value  # type: ignore[no-any-return] # what a generator returns has no type
            else:
                return (yield from self._steps)


def first_step(awaitable: Awaitable[T]) -> T | Rest[T]:
    """Begin to await something, in this task: its result if that was all of it, else what is left."""
    steps = awaitable.__await__()
    try:
        return Rest(next(steps), steps)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return] # as above


async def bounded(awaitable: Awaitable[T], most: Seconds) -> T:
    """Await something for at most so long, in this task. What needs no waiting is done at once and costs no timer.

    Raises:
        TooLong: it was not ready in time; it has been cancelled.
    """
    rest = first_step(awaitable)
    return await within(rest, most) if isinstance(rest, Rest) else rest


async def within(rest: Rest[T], most: Seconds) -> T:
    """Await the rest of something for at most so long.

    Raises:
        TooLong: as above; what times out by itself raises its own error.
    """
    limit = asyncio.timeout(most)
    try:
        async with limit:
            return await rest
    except TimeoutError as exc:
        if limit.expired():
            raise TooLong from exc
        raise
