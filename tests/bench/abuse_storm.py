"""A retry storm: a suspended tier opens again, and everybody who was refused comes back to a real agent at once.

Half of the clients obey Retry-After: as the openai SDK does, to the second, or with a jitter on it, as tenacity's
users add. The other half is rude: it comes again soon, whatever it was told.
"""

import asyncio
import random
from asyncio.subprocess import DEVNULL
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web

from bench.cores import seconds_in_line, subjects_core
from bench.ending import end
from bench.image_server import serving
from bench.judging import none, told
from meltguard.api.limit_document import TierLimit, TierState
from meltguard.clock import SystemClock
from meltguard.demo.report import Row
from support.agent_process import AgentProcess, alive
from support.agents import a_lease, signed

GPUS: Final = 8
IMAGE_SECONDS: Final = 0.4
CAPACITY: Final = GPUS / IMAGE_SECONDS
CLIENTS: Final = 500
THINKS: Final = 2.0  # seconds, on average, between an image and the next request
RUDE_RETRY: Final = 1.0
JITTER: Final = 1.0
ANSWER_WITHIN: Final = 60.0

WARM_UP: Final = 10.0
BEFORE: Final = 15.0
SUSPENDED: Final = 20.0
SPAN: Final = 10.0
"""Goodput is counted over so long."""

GOAL: Final = 60.0
AFTER: Final = GOAL + SPAN
ENOUGH: Final = 0.9
PROVES: Final = 0.8
"""Of the GPUs' capacity, before the storm: with less, something else was short, and a run proves nothing."""

STARVED: Final = 0.1
"""Of the time after the lift. An agent that stood in line for its core longer lacked that, not a calm crowd."""

OPEN: Final = TierLimit(name="free", queue=100, max_wait=5.0)  # as many as eight GPUs make in that time
CLOSED: Final = OPEN.model_copy(update={"state": TierState.SUSPEND})


class Manner(StrEnum):
    """How a client takes a refusal."""

    EXACT = "obeys"
    JITTERED = "obeys, with jitter"
    RUDE = "rude"


MANNERS: Final = (Manner.EXACT, Manner.RUDE, Manner.JITTERED, Manner.RUDE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """An image that a client got."""

    asked: float
    at: float
    client: int


@dataclass(slots=True, kw_only=True)
class Storm:
    """What a run showed; times on the clock that never jumps."""

    clients: int
    opened: float = 0.0  # when the first clients came
    suspended: float = 0.0
    lifted: float = 0.0
    ended: float = 0.0
    starved: float = 0.0  # share of the time after the lift that the agent stood in line for its core
    served: list[Served] = field(default_factory=list)
    offered: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)  # by manner and reason
    failed: Counter[str] = field(default_factory=Counter)  # what got neither an image nor a reason

    @property
    def before(self) -> float:
        """Images a second before the tier was suspended."""
        return rate(self.served, self.opened + WARM_UP, self.suspended)

    @property
    def proves(self) -> bool:
        """Whether GPUs were what was short before, and, where goodput did not come back, the crowd the cause of it."""
        return self.before >= PROVES * CAPACITY and (self.back_after <= GOAL or self.starved <= STARVED)

    @property
    def back_after(self) -> float:
        """Seconds until goodput was nine tenths of that, and stayed so; inf where it was not by the end."""
        enough = ENOUGH * self.before
        late = [
            start
            for start in range(int(self.ended - self.lifted - SPAN) + 1)
            if rate(self.served, self.lifted + start, self.lifted + start + SPAN) < enough
        ]
        if not late:
            return SPAN if self.before > 0 else float("inf")
        back = late[-1] + 1 + SPAN
        return back if back <= self.ended - self.lifted else float("inf")

    def never_served(self, manner: Manner) -> int:
        """Clients of a manner that got no image after the lift."""
        got = {one.client for one in self.served if one.at > self.lifted}
        return sum(manner_of(client) is manner and client not in got for client in range(self.clients))


def manner_of(client: int) -> Manner:
    """Fixed for each client."""
    return MANNERS[client % len(MANNERS)]


def rate(served: Sequence[Served], begin: float, end: float) -> float:
    """Images a second in a span."""
    return sum(begin < one.at <= end for one in served) / (end - begin) if end > begin else 0.0


class Gpus:
    """An image server that makes so many images at once and no more, whoever asks."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(GPUS)

    async def answer(self, _request: web.Request) -> web.Response:
        """An image in its time."""
        async with self._free:
            await asyncio.sleep(IMAGE_SECONDS)
        return web.Response(body=b"image")


class Crowd:
    """The clients, each with one request after the other."""

    def __init__(self, storm: Storm, port: int, session: aiohttp.ClientSession) -> None:
        self._storm, self._session = storm, session
        self._url = f"http://127.0.0.1:{port}/v1/images/generations"
        self._clock = SystemClock()
        self._luck = random.Random(20261201)  # noqa: S311 - repeats a run, keeps no secret

    async def client(self, number: int) -> None:
        """Until it is cancelled."""
        await asyncio.sleep(self._luck.uniform(0.0, THINKS))
        while True:
            pause = await self._ask(number)
            await asyncio.sleep(pause)

    async def _ask(self, number: int) -> float:
        """Ask once; seconds until it asks again."""
        storm, manner = self._storm, manner_of(number)
        asked = self._clock.elapsed()
        storm.offered.append(asked)
        headers = {"X-Meltguard-Tier": "free", "X-Meltguard-User": f"user-{number}"}
        try:
            async with self._session.post(self._url, json={"n": 1}, headers=headers) as answer:
                if answer.status == 200 and await answer.read() == b"image":
                    storm.served.append(Served(asked=asked, at=self._clock.elapsed(), client=number))
                    return self._luck.expovariate(1.0 / THINKS)
                problem = await answer.json(content_type=None)
                storm.refused[f"{manner}: {problem['reason']}"] += 1
                return self._patience(manner, float(answer.headers["Retry-After"]))
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as exc:
            storm.failed[type(exc).__name__] += 1
            return RUDE_RETRY

    def _patience(self, manner: Manner, told: float) -> float:
        if manner is Manner.RUDE:
            return RUDE_RETRY
        return told + (self._luck.uniform(0.0, JITTER) if manner is Manner.JITTERED else 0.0)


async def stormed(folder: Path, clients: int = CLIENTS, part: float = 1.0) -> Storm:
    """Open, suspended, open again; `part` shortens all of it."""
    storm, clock = Storm(clients=clients), SystemClock()
    connector = aiohttp.TCPConnector(limit=0)
    within = aiohttp.ClientTimeout(total=ANSWER_WITHIN)
    async with (
        serving(Gpus().answer) as port,
        aiohttp.ClientSession(connector=connector, timeout=within) as session,
    ):
        flags = {"upstream": f"http://127.0.0.1:{port}", "gpus": str(GPUS)}
        agent = AgentProcess(folder=folder, flags=flags, prefix=subjects_core(), stderr=DEVNULL)
        async with alive(agent):
            await push(session, agent, OPEN, 1)
            crowd = Crowd(storm, agent.data, session)
            storm.opened = clock.elapsed()
            tasks = [asyncio.create_task(crowd.client(number)) for number in range(clients)]
            await asyncio.sleep((WARM_UP + BEFORE) * part)
            await push(session, agent, CLOSED, 2)
            storm.suspended = clock.elapsed()
            await asyncio.sleep(SUSPENDED * part)
            storm.lifted = clock.elapsed()
            in_line = seconds_in_line(agent.pid)
            await push(session, agent, OPEN, 3)
            await asyncio.sleep(AFTER * part)
            storm.ended = clock.elapsed()
            storm.starved = (seconds_in_line(agent.pid) - in_line) / (storm.ended - storm.lifted)
            await end(tasks)
    return storm


async def push(session: aiohttp.ClientSession, agent: AgentProcess, tier: TierLimit, revision: int) -> None:
    """As the operator does; it must be obeyed."""
    document = signed(a_lease(tier, revision=revision, ttl=600.0))
    async with session.put(f"http://127.0.0.1:{agent.control}/v1/limits", data=document) as answer:
        assert answer.status == 200, await answer.text()


def storm_rows(storm: Storm) -> list[Row]:
    """Against their goals."""
    back = storm.back_after
    flood = sum(storm.lifted < at <= storm.lifted + SPAN for at in storm.offered) / SPAN
    leaked = sum(storm.suspended < one.asked and one.at <= storm.lifted for one in storm.served)
    return [
        Row(name="goodputBefore", value=round(storm.before, 1), unit="images/s", goal="> 0", met=storm.before > 0),
        Row(name="goodput90Seconds", value=back, unit="s after the lift", goal=f"<= {GOAL:g}", met=back <= GOAL),
        none("servedWhileSuspended", leaked, "images"),
        none("stormFailed", storm.failed.total(), "requests"),
        told("stormAgentInLine", round(storm.starved, 3), "of the time after the lift, for its core"),
        told("stormOffered", round(flood, 1), "requests/s in the first 10 s"),
        *(told(f"stormRefused ({seen})", times, "requests") for seen, times in sorted(storm.refused.items())),
        *(told(f"stormNeverServed ({one})", storm.never_served(one), "clients") for one in Manner),
    ]
