"""Tells a waiting reader that something happened here: a number that grows, at most a few times a second."""

import asyncio
from typing import Final

from meltguard.core.units import Seconds

APART: Final = Seconds(0.25)
CALM_AFTER: Final = Seconds(1.0)  # an overload that was gone for less is still the same one


class News:
    """The agent's sequence number and those who wait for it to grow."""

    def __init__(self) -> None:
        self.sequence = 0
        self._grown = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._last = -APART
        self._closed = False

    def tell(self) -> None:
        """Something worth telling happened; the number grows now, or as soon as it may again."""
        if self._timer is not None or self._closed:
            return
        loop = asyncio.get_running_loop()
        wait = self._last + APART - loop.time()
        if wait <= 0:
            self._grow()
        else:
            self._timer = loop.call_later(wait, self._grow)

    async def beyond(self, sequence: int, wait: Seconds) -> None:
        """Return when the number exceeds `sequence`, when `wait` seconds passed, or when the agent stops."""
        try:
            async with asyncio.timeout(wait):
                while self.sequence <= sequence and not self._closed:
                    await self._grown.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        """Let all readers go."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._grown.set()

    def _grow(self) -> None:
        self._timer = None
        self._last = asyncio.get_running_loop().time()
        self.sequence += 1
        self._grown.set()
        self._grown = asyncio.Event()


class OverloadWatch:
    """Whether this pod is overloaded, told when it begins and when it has been over for a while."""

    def __init__(self, news: News, target: Seconds) -> None:
        self._news, self._target = news, target
        self.calm = True  # and told to be: a look at an empty line changes nothing
        self._grade = 0  # 0 calm, 1 someone waits, 2 the predicted wait is beyond its target
        self._lower_since: Seconds | None = None

    def see(self, waiting: int, predicted: Seconds, at: Seconds) -> None:
        """Look at the line; cheap, for it is called at every change."""
        grade = 2 if predicted > self._target else 1 if waiting else 0
        if grade >= self._grade:
            self._lower_since = None
            if grade > self._grade:
                self._change(grade)
        elif self._lower_since is None:
            self._lower_since = at
        elif at - self._lower_since >= CALM_AFTER:
            self._lower_since = None
            self._change(grade)

    def _change(self, grade: int) -> None:
        self._grade = grade
        self.calm = grade == 0
        self._news.tell()
