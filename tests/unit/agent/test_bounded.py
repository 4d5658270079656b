"""Waits that end, and what is ready at once."""

import asyncio

import pytest

from meltguard.agent.bounded import TooLong, bounded
from meltguard.core.units import Seconds

SOON = Seconds(0.02)
LATE = Seconds(60.0)


async def at_once(word: str) -> str:
    return word


async def stirred(event: asyncio.Event) -> str:
    await event.wait()
    await asyncio.sleep(0)
    await event.wait()
    return "stirred"


async def test_what_is_ready_needs_no_time_at_all() -> None:
    assert await bounded(at_once("now"), Seconds(0.0)) == "now"


async def test_what_waits_goes_on_when_it_may() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)
    assert await bounded(stirred(event), LATE) == "stirred"


async def test_what_waits_too_long_is_ended() -> None:
    ended = asyncio.Event()

    async def never() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        await bounded(never(), SOON)
    assert ended.is_set()


@pytest.mark.parametrize("first", [0, 1])
async def test_an_error_comes_through_at_the_first_step_and_later(first: int) -> None:
    async def failing() -> None:
        for _ in range(first):
            await asyncio.sleep(0)
        raise KeyError("as it is")

    with pytest.raises(KeyError, match="as it is"):
        await bounded(failing(), LATE)


async def test_a_cancellation_reaches_what_waits_and_may_be_survived() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            return "tidied up"
        return "never"

    task = asyncio.create_task(bounded(stubborn(), LATE))
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "tidied up"


async def test_a_task_that_is_waited_for_too_long_is_cancelled() -> None:
    task = asyncio.create_task(asyncio.Event().wait())
    with pytest.raises(TimeoutError):
        await bounded(task, SOON)
    assert task.cancelled()


async def test_what_times_out_by_itself_did_not_take_too_long_here() -> None:
    async def slow_inside() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError) as raised:
        await bounded(slow_inside(), LATE)
    assert not isinstance(raised.value, TooLong)
    with pytest.raises(TooLong):
        await bounded(asyncio.Event().wait(), SOON)
