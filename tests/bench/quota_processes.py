"""The same campaign over HTTP: agents are processes, some of which are killed between a grant and its settlement."""

import asyncio
import contextlib
import random
from asyncio.subprocess import DEVNULL
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web

from bench.ending import end
from bench.image_server import serving
from bench.limit_pushes import BURST, LIMITED, Pushes, a_campaigns_baseline, a_campaigns_policy
from bench.limited_crowd import left_alone
from bench.quota_campaign import IMAGES, Fault, zone_far_from_midnight
from bench.quota_untold import untold_images
from bench.windows import Entered, Limited
from meltguard.adapters.agent_push import AgentPush
from meltguard.agent.journal import JournalEntry
from meltguard.clock import SystemClock
from meltguard.core.units import PodUid
from meltguard.errors import InvalidInput
from support.agent_process import AgentProcess, alive
from support.agents import KEY
from support.valkey import ValkeyServer

QUOTA_CLIENTS: Final = 5  # at each agent
LIMITED_CLIENTS: Final = 3
MOST_IMAGE_SECONDS: Final = 0.02
AWAY: Final = 0.3
RETRY: Final = 0.05
POD: Final = "X-Bench-Pod"
REFUSED_AFTER_FLUSH: Final = 200
IN_FLIGHT_WITHIN: Final = 2.0
"""Seconds in which a kill or a flush finds an image being made; later it comes as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How much of everything."""

    seconds: float
    faults: tuple[Fault, ...]  # of the store
    kills: int  # of agents
    limits: int = 12
    agents: int = 5
    users: int = 1_000
    seed: int = 20261130


@dataclass(slots=True, kw_only=True)
class Shown:
    """What came of it."""

    asked: int = 0
    made: Counter[tuple[str, str]] = field(default_factory=Counter)  # by the image server: tier and user
    had: Counter[tuple[str, str]] = field(default_factory=Counter)  # of them, what reached a client
    cut: Counter[tuple[str, str]] = field(default_factory=Counter)  # asked for by requests that a kill broke off
    answers: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    made_at_kills: int = 0  # images in the making at agents that were killed
    in_flight_at_flush: int = 0
    granted_after_flush: int = 0
    untold: int = 0  # images that clients had and the store takes for held
    faults: Counter[Fault] = field(default_factory=Counter)
    limited: Limited = field(default_factory=lambda: Limited(entered=(), totals=(), bursts=0.0, held_back=0))

    @property
    def over(self) -> int:
        """Images beyond the quota, over all users: had, or made for who was not cut off by a kill."""
        return sum(max(0, self.had[who] - IMAGES, self.made[who] - self.cut[who] - IMAGES) for who in self.made)

    @property
    def made_over(self) -> int:
        """Images made beyond the quota: what nobody got when an agent was killed is given back, and made again."""
        return sum(max(0, images - IMAGES) for images in self.made.values())


@dataclass(slots=True)
class Painter:
    """The image server of all agents."""

    shown: Shown
    luck: random.Random
    now: Counter[str] = field(default_factory=Counter)  # images in the making, by agent
    came: dict[str, Entered] = field(default_factory=dict)  # of the limited tier, by user

    async def answer(self, request: web.Request) -> web.Response:
        """Of twenty requests one fails."""
        tier, user = request.headers["X-Meltguard-Tier"], request.headers["X-Meltguard-User"]
        pod, images = request.headers[POD], int((await request.json())["n"])
        if tier == LIMITED:
            self.came[user] = Entered(at=SystemClock().now(), units=float(images))
        self.now[pod] += images
        try:
            await asyncio.sleep(self.luck.random() * MOST_IMAGE_SECONDS)
        finally:
            self.now[pod] -= images
        if self.luck.random() < 1 / 20:
            return web.Response(status=500)
        self.shown.made[tier, user] += images
        return web.Response(body=b"image" * images)


class Processes:
    """One run."""

    def __init__(self, course: Course, server: ValkeyServer, folder: Path) -> None:
        self._course, self._server = course, server
        self._books = [f"free-{book}" for book in range(course.faults.count(Fault.FLUSH) + 1)]
        self._next_book = cycle(self._books)
        self._book = next(self._next_book)
        self._lost: set[str] = set()
        self._refused_since_flush = 0
        self._luck = random.Random(course.seed)  # noqa: S311 - repeats a run, keeps no secret
        self._numbers = count()
        self.shown = Shown()
        self._painter = Painter(self.shown, self._luck)
        self._policy = a_campaigns_policy(self._books, IMAGES, zone_far_from_midnight())
        self._folder = folder

    async def run(self) -> Shown:
        """For as long as the course says, its kills and faults spread evenly."""
        async with contextlib.AsyncExitStack() as stack:
            port = await stack.enter_async_context(serving(self._painter.answer))
            agents = self._agents(port)
            await stack.enter_async_context(alive(*agents))
            sink = await stack.enter_async_context(AgentPush(KEY))
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
            pushes = Pushes(self._policy, sink, [agent.target for agent in agents], SystemClock().now)
            await pushes.begin()
            tasks = [asyncio.create_task(pushes.run())]
            for place, agent in enumerate(agents):
                tasks += [asyncio.create_task(self._ask_free(agent, session)) for _ in range(QUOTA_CLIENTS)]
                tasks += [asyncio.create_task(self._ask_limited(agent, place, session)) for _ in range(LIMITED_CLIENTS)]
            try:
                await self._befall(agents, pushes)
            finally:
                await end(tasks)
            await asyncio.gather(*(agent.stop() for agent in agents))  # they write their journals' last lines
        self.shown.limited = self._limited(agents, pushes)
        self.shown.untold = untold_images(self._server.client(), self.shown.had, frozenset(self._lost))
        return self.shown

    def _agents(self, port: int) -> list[AgentProcess]:
        baseline = self._folder / "baseline.json"
        baseline.write_bytes(a_campaigns_baseline(self._policy, self._course.agents))
        flags = {
            "upstream": f"http://127.0.0.1:{port}",
            "baseline-file": str(baseline),
            "quota-store": self._server.url,
            "gpus": str(QUOTA_CLIENTS + LIMITED_CLIENTS),
        }
        names = [PodUid(f"pod-{number}") for number in range(self._course.agents)]
        words = ("--trust-gateway", "--journal-names-users")
        return [AgentProcess(pod=name, folder=self._folder, flags=flags, words=words, stderr=DEVNULL) for name in names]

    async def _ask_free(self, agent: AgentProcess, session: aiohttp.ClientSession) -> None:
        while True:
            self.shown.asked += 1
            book, lost = self._book, self._book in self._lost
            user = f"user-{self._luck.randrange(self._course.users)}"
            images = 1 + (self.shown.asked % 4 == 0)
            status = await self._ask(session, agent, (book, user), images)
            if status == 200:
                self.shown.had[book, user] += images
                self.shown.granted_after_flush += lost
            elif status == 0:
                self.shown.cut[book, user] += images
            else:
                self._turned_away(lost=lost)
            await asyncio.sleep(RETRY if status == 503 else 0)

    def _turned_away(self, *, lost: bool) -> None:
        self._refused_since_flush += lost
        if lost and self._refused_since_flush >= REFUSED_AFTER_FLUSH and self._book in self._lost:
            self._book = next(self._next_book)

    async def _ask_limited(self, agent: AgentProcess, place: int, session: aiohttp.ClientSession) -> None:
        while True:
            if left_alone(SystemClock().elapsed(), self._course.agents) == place:
                await asyncio.sleep(0.1)
                continue
            number = next(self._numbers)
            await self._ask(session, agent, (LIMITED, f"limited-{number}"), 1 + (number % 3 == 0))

    async def _ask(self, session: aiohttp.ClientSession, agent: AgentProcess, who: tuple[str, str], images: int) -> int:
        """The answer's status; 0 where none came whole."""
        while not agent.up:  # noqa: ASYNC110 - a client looks again, it is not told
            await asyncio.sleep(RETRY)
        tier, user = who
        headers = {"X-Meltguard-Tier": tier, "X-Meltguard-User": user, POD: agent.pod}
        url = f"http://127.0.0.1:{agent.data}/v1/images"
        try:
            async with session.post(url, json={"n": images}, headers=headers) as answer:
                body = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            self.shown.answers["none: the agent was killed"] += 1
            await asyncio.sleep(RETRY)
            return 0
        word = "made" if status == 200 else str(status)
        if status == 200:
            assert body == b"image" * images, body[:40]
        self.shown.answers[f"{'limited' if tier == LIMITED else 'free'} {word}"] += 1
        return status

    async def _befall(self, agents: list[AgentProcess], pushes: Pushes) -> None:
        async def fault(number: int) -> None:
            await self._fault(self._course.faults[number])

        async def kill(number: int) -> None:
            await self._until_making()
            from_it_on = (*agents[number % len(agents) :], *agents[: number % len(agents)])
            making = [agent for agent in from_it_on if self._painter.now[agent.pod]]
            await self._kill(making[0] if making else from_it_on[0])  # nobody may be asking the one whose turn it is

        async def change(_: int) -> None:
            pushes.change()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._spread(len(self._course.faults), fault))
            tasks.create_task(self._spread(self._course.kills, kill))
            tasks.create_task(self._spread(self._course.limits, change))

    async def _spread(self, times: int, doing: Callable[[int], Awaitable[None]]) -> None:
        clock = SystemClock()
        started, apart = clock.elapsed(), self._course.seconds / (times + 1)
        for number in range(times):
            await asyncio.sleep(max(0.0, started + (number + 1) * apart - clock.elapsed()))
            await doing(number)
        await asyncio.sleep(max(0.0, started + self._course.seconds - clock.elapsed()))

    async def _kill(self, agent: AgentProcess) -> None:
        """Between a grant and its settlement, and start it again."""
        self.shown.made_at_kills += self._painter.now[agent.pod]
        self.shown.kills += 1
        await agent.kill()
        await asyncio.sleep(AWAY)
        await agent.start()

    async def _fault(self, fault: Fault) -> None:
        if fault is Fault.FLUSH:
            await self._until_making()
            self.shown.in_flight_at_flush += self._painter.now.total()
            await asyncio.to_thread(self._server.client().flushall)
            self._refused_since_flush = 0
            self._lost.add(self._book)
        else:
            await asyncio.to_thread(self._server.kill if fault is Fault.KILL else self._server.stop)
            await asyncio.sleep(AWAY)
            await asyncio.to_thread(self._server.start)
        self.shown.faults[fault] += 1

    async def _until_making(self) -> None:
        """A fault is hardest while images are made."""
        for _ in range(int(IN_FLIGHT_WITHIN / 0.002)):
            if self._painter.now.total():
                return
            await asyncio.sleep(0.002)

    def _limited(self, agents: list[AgentProcess], pushes: Pushes) -> Limited:
        """Each request at the moment that its agent noted; what a killed one could not note, when the server had it."""
        entries = [entry for agent in agents for entry in entries_of(agent.journal) if entry.tier == LIMITED]
        entered = dict(self._painter.came)
        for entry in entries:
            if entry.verdict == "admitted":
                entered[entry.user] = Entered(at=entry.at + entry.wait, units=entry.units)
        held_back = sum(entry.verdict == "refused" or entry.wait > 0 for entry in entries)
        lives = sum(agent.lives for agent in agents)  # one that is started anew has a full bucket
        ordered = sorted(entered.values(), key=lambda one: one.at)
        return Limited(entered=ordered, totals=pushes.totals, bursts=BURST * lives, held_back=held_back)


def entries_of(journal: Path) -> list[JournalEntry]:
    """What an agent noted; a line that was cut off when it was killed is none."""
    found = []
    for line in journal.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(InvalidInput):
            found.append(JournalEntry.parse(line))
    return found
