"""What is asked every two seconds is read every ten, once for all who ask; a failure is no answer."""

import asyncio

import pytest

from meltguard.adapters.recent import MOST_KNOWN, READ_EVERY, Recent
from meltguard.errors import Unavailable
from support.fakes import FakeClock


class _Source:
    """Answers with a number that grows at each reading."""

    def __init__(self) -> None:
        self.reads = 0
        self.down = False

    async def read(self, key: str) -> str:
        """The next number, or a failure."""
        self.reads += 1
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable("no answer")
        return f"{key} {self.reads}"


def recent_of(source: _Source) -> tuple[FakeClock, Recent[str, str]]:
    clock = FakeClock()
    return clock, Recent(read=source.read, clock=clock)


async def test_an_answer_serves_until_it_is_too_old() -> None:
    source = _Source()
    clock, recent = recent_of(source)
    assert await recent.of("a") == "a 1"
    clock.advance(READ_EVERY - 0.1)
    assert await recent.of("a") == "a 1"
    assert await recent.of("b") == "b 2"
    clock.advance(0.1)
    assert await recent.of("a") == "a 3"
    assert await recent.of("b") == "b 2"


async def test_those_who_ask_together_are_served_by_one_reading() -> None:
    source = _Source()
    _, recent = recent_of(source)
    assert await asyncio.gather(*(recent.of("a") for _ in range(5))) == ["a 1"] * 5


async def test_what_was_written_is_read_anew() -> None:
    source = _Source()
    _, recent = recent_of(source)
    await recent.of("a")
    recent.forget("a")
    assert await recent.of("a") == "a 2"


async def test_a_failure_is_told_and_not_kept() -> None:
    source = _Source()
    clock, recent = recent_of(source)
    await recent.of("a")
    clock.advance(READ_EVERY)
    source.down = True
    for _ in range(2):  # nor is the old answer good for longer
        with pytest.raises(Unavailable):
            await recent.of("a")
    source.down = False
    assert await recent.of("a") == "a 4"


async def test_old_answers_are_dropped_where_there_are_many() -> None:
    source = _Source()
    clock, recent = recent_of(source)
    for number in range(MOST_KNOWN):
        await recent.of(str(number))
    clock.advance(READ_EVERY)
    await recent.of("last")
    assert await recent.of("last") == f"last {MOST_KNOWN + 1}"
    assert len(recent._known) == 1
