import asyncio
import time

from meltguard.agent.news import APART, CALM_AFTER, News, OverloadWatch
from meltguard.core.units import Seconds
from support.eventually import soon

TARGET = Seconds(4.0)
FAR = Seconds(600.0)
"""Who waits for the end of this is not through in time."""


async def test_a_reader_is_told_at_once() -> None:
    news = News()
    reader = asyncio.create_task(news.beyond(0, FAR))
    await asyncio.sleep(0)
    news.tell()
    async with soon():
        await reader


async def test_who_is_behind_already_does_not_wait() -> None:
    news = News()
    news.tell()
    async with soon():
        await news.beyond(0, FAR)


async def test_much_news_is_one() -> None:
    news = News()
    for _ in range(1_000):
        news.tell()
    assert news.sequence == 1
    await news.beyond(1, FAR)
    assert news.sequence == 2
    begun = time.monotonic()
    await news.beyond(2, Seconds(APART * 2))
    assert time.monotonic() - begun >= APART * 2


async def test_at_the_end_all_readers_go() -> None:
    news = News()
    readers = [asyncio.create_task(news.beyond(0, FAR)) for _ in range(3)]
    await asyncio.sleep(0)
    news.close()
    async with soon():
        await asyncio.gather(*readers)


class Told(News):
    """Counts without a clock."""

    def tell(self) -> None:
        """Count."""
        self.sequence += 1


def see(watch: OverloadWatch, waiting: int, predicted: float, at: float) -> None:
    watch.see(waiting, Seconds(predicted), Seconds(at))


def test_an_overload_is_told_when_it_begins_grows_and_is_over() -> None:
    news = Told()
    watch = OverloadWatch(news, TARGET)
    told = []
    for waiting, predicted, at in ((0, 0, 0), (1, 1, 1), (5, 3, 2), (9, 5, 3), (0, 0, 4), (0, 0, 4 + CALM_AFTER)):
        see(watch, waiting, predicted, at)
        told.append(news.sequence)
    assert told == [0, 1, 1, 2, 2, 3]


def test_a_queue_that_flickers_is_one_overload() -> None:
    news = Told()
    watch = OverloadWatch(news, TARGET)
    for step in range(1_000):
        see(watch, step % 2, 0.0, step * 0.01)
    assert news.sequence == 1
