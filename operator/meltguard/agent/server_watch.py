"""Looks at an image server that knows its own queue, and tells the admission of requests that others sent it."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from meltguard.agent.counters import GpuMeter
from meltguard.agent.server_words import PRESETS, ServerKind, ServerWords
from meltguard.agent.settings import ServerLook
from meltguard.agent.whole_answer import whole
from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput, Unavailable
from meltguard.ports import Clock

log = logging.getLogger(__name__)

MOST_BYTES: Final = 8_388_608  # of one answer


@dataclass(frozen=True, slots=True)
class Seen:
    """One look."""

    words: ServerWords
    others: int  # requests beyond ours
    missing: int  # requests of ours that the server does not have
    at: Seconds


class ServerWatch:
    """Asks again and again. What is older than it may be is unknown, and then nothing is taken for busy."""

    def __init__(self, look: ServerLook, meter: GpuMeter, clock: Clock) -> None:
        self._look, self._meter, self._clock = look, meter, clock
        self._read = PRESETS[look.kind].read
        self._last: Seen | None = None
        self.failures = 0
        self._told = False
        self.miss: Callable[[int], None] = _nothing  # told at each look how many of our requests are not there

    async def run(self) -> None:
        """Look until cancelled."""
        timeout = aiohttp.ClientTimeout(total=self._look.within)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                await self.look(session)
                await asyncio.sleep(self._look.every)

    async def look(self, session: aiohttp.ClientSession) -> None:
        """Look once. A failure is counted; what was seen before holds until it is stale."""
        ours = self._meter.in_flight
        try:
            async with session.get(self._look.url, allow_redirects=False) as answer:
                answer.raise_for_status()
                raw = await whole(answer, MOST_BYTES)
                words = self._read(raw.decode("utf-8", "replace"))
        except (aiohttp.ClientError, TimeoutError, InvalidInput, Unavailable) as exc:
            self._failed(exc)
        else:
            self._told = False
            self.see(words, (ours, self._meter.in_flight))
        self.settle()

    def see(self, words: ServerWords, ours: tuple[int, int]) -> None:
        """Take what the server says while so many of its requests were ours, before the look and after it.

        Only what two looks in a row agree on counts for others' work, or for a request of ours that is not there: one
        that begins or ends between the server's count and ours would else look like it.
        """
        last = self.last
        others = max(0, words.held - max(ours))
        missing = max(0, min(ours) - words.held) if words.all_told else 0
        self._meter.see_others(min(others, last.others) if last is not None else 0)
        self.miss(min(missing, last.missing) if last is not None else 0)
        self._last = Seen(words, others, missing, self._clock.elapsed())

    def settle(self) -> None:
        """Forget what is stale."""
        if self.last is None:
            self._meter.see_others(0)

    @property
    def last(self) -> Seen | None:
        """What was seen last; None where it is too old, or nothing was seen: that is unknown, not zero."""
        last = self._last
        return last if last is not None and self._clock.elapsed() - last.at <= self._look.stale_after else None

    def _failed(self, exc: Exception) -> None:
        self.failures += 1
        if not self._told:
            log.warning("the image server does not tell its queue", extra={"url": self._look.url, "why": str(exc)})
        self._told = True


def _nothing(_missing: int) -> None:
    """Nobody holds slots for requests that he does not see."""


def look_at(kind: str, url: str | None, upstream: str | None) -> ServerLook:
    """How to look at a server of this kind: at the URL given, or else where its kind usually tells.

    Raises:
        InvalidInput: there is no such kind, or no URL.
    """
    if kind not in set(ServerKind):
        raise InvalidInput(f"{kind!r} is no server preset: write one of {', '.join(ServerKind)}")
    preset = PRESETS[ServerKind(kind)]
    if url is None and upstream is None:
        raise InvalidInput(f"where does the {kind} server tell its queue? Give --server-url")
    if url is None:
        server = URL(upstream or "")
        url = str(server.origin().with_port(preset.port or server.port).with_path(preset.path))
    return ServerLook(kind=ServerKind(kind), url=url)
