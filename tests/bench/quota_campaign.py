"""Several agents, one Valkey that is killed, flushed and restarted under them, and a count of what each user got."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import cycle
from pathlib import Path
from typing import Final

from bench.limit_pushes import BURST, AtOnce, Pushes, a_campaigns_policy
from bench.limited_crowd import LimitedCrowd
from bench.windows import Limited
from meltguard.agent.agent import Agent
from meltguard.agent.cost import Cost
from meltguard.agent.quota_valkey import ValkeyQuotaStore
from meltguard.agent.refusal import Reason, Refusal
from meltguard.agent.settings import QuotaSettings, StoreAddress
from meltguard.agent.visit import Ask, Result, Visit
from meltguard.api.store_state import StoreState
from meltguard.clock import SystemClock
from meltguard.core.units import Gpus, PodUid, Seconds, TierName
from meltguard.ports import Target
from support.agents import Patient, agent_settings
from support.valkey import ValkeyServer

IMAGES: Final = 3
WORKERS: Final = 8  # requests at once at each agent
MORE_SLOTS: Final = 4  # for the tier with a limit: no GPU holds it back
BUDGET: Final = QuotaSettings().budget  # production's, though all agents share this process with each other
AWAY: Final = Seconds(0.3)
LOOKS: Final = 500
MOST_IMAGE_SECONDS: Final = 0.004
RETRY_AFTER: Final = Seconds(0.05)  # clients here are less patient than those who obey Retry-After
REFUSED_AFTER_FLUSH: Final = 1_000  # requests that a flushed book must refuse before the next one is used


class Fault(StrEnum):
    """What befalls the store."""

    KILL = "kill"
    RESTART = "restart"
    FLUSH = "flush"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of everything."""

    requests: int
    users: int
    faults: tuple[Fault, ...]
    agents: int = 5
    limits: int = 40  # how often the limited tier's total is changed meanwhile
    seed: int = 20261123


@dataclass(slots=True, kw_only=True)
class Sums:
    """What came of it."""

    asked: int = 0
    images: Counter[tuple[str, str]] = field(default_factory=Counter)  # delivered, by tier and user
    refused: Counter[Reason] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)  # images of each tier that were being made
    in_flight_at_flush: int = 0
    granted_after_flush: int = 0
    faults: Counter[Fault] = field(default_factory=Counter)
    known: int = 0
    asked_store: int = 0
    too_late: int = 0  # answers of the store: what was granted so late was refused, and given back
    pushes: int = 0  # revisions of leases that the operator pushed
    limited: Limited = field(default_factory=lambda: Limited(entered=(), totals=(), bursts=0.0, held_back=0))

    @property
    def over(self) -> int:
        """Images beyond the quota, over all users."""
        return sum(max(0, images - IMAGES) for images in self.images.values())

    @property
    def users_over(self) -> int:
        """Users who got more than their quota."""
        return sum(images > IMAGES for images in self.images.values())

    @property
    def users_full(self) -> int:
        """Users who got exactly what they may have."""
        return sum(images == IMAGES for images in self.images.values())


class Campaign:
    """One run."""

    def __init__(self, plan: Plan, server: ValkeyServer, folder: Path) -> None:
        self._plan, self._server, self._folder = plan, server, folder
        self._books = cycle(f"free-{number}" for number in range(plan.faults.count(Fault.FLUSH) + 1))
        self._book = next(self._books)
        self._lost: set[str] = set()
        self._refused_since_flush = 0
        self._luck = random.Random(plan.seed)  # noqa: S311 - repeats a run, keeps no secret
        self.sums = Sums()

    async def run(self) -> Sums:
        """Ask for everything, with the faults spread evenly over the requests."""
        async with contextlib.AsyncExitStack() as stack:
            agents = [await stack.enter_async_context(self._agent(number)) for number in range(self._plan.agents)]
            pushes, crowd = self._operator(agents), LimitedCrowd(agents)
            await pushes.begin()
            beside = [asyncio.create_task(pushes.run()), asyncio.create_task(crowd.run())]
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._befall())
                    tasks.create_task(self._change_limits(pushes))
                    for agent in agents:
                        for _ in range(WORKERS):
                            tasks.create_task(self._work(agent))
            finally:
                for task in beside:
                    task.cancel()
                await asyncio.gather(*beside, return_exceptions=True)
            self._sum_up(agents, pushes, crowd)
        return self.sums

    def _sum_up(self, agents: list[Agent], pushes: Pushes, crowd: LimitedCrowd) -> None:
        self.sums.known = sum(agent.quota.answers["known"] for agent in agents)
        self.sums.asked_store = sum(agent.quota.answers["store"] for agent in agents)
        self.sums.too_late = sum(agent.quota.health.failed[StoreState.SLOW] for agent in agents)
        self.sums.pushes = pushes.revision
        self.sums.limited = Limited(
            entered=crowd.entered, totals=pushes.totals, bursts=BURST * len(agents), held_back=crowd.held_back
        )

    def _operator(self, agents: list[Agent]) -> Pushes:
        books = [f"free-{book}" for book in range(self._plan.faults.count(Fault.FLUSH) + 1)]
        policy = a_campaigns_policy(books, IMAGES, zone_far_from_midnight())
        by_pod = {agent.settings.pod_uid: agent for agent in agents}
        targets = [Target(pod=pod, name=f"serving/{pod}", address="127.0.0.1", port=1) for pod in by_pod]
        return Pushes(policy, AtOnce(by_pod), targets, SystemClock().elapsed)

    async def _change_limits(self, pushes: Pushes) -> None:
        apart = max(1, self._plan.requests // (self._plan.limits + 1))
        for number in range(1, self._plan.limits + 1):
            await self._asked(number * apart)
            pushes.change()

    async def _asked(self, number: int) -> None:
        """Wait until so many requests came; workers count faster than an event could tell."""
        while self.sums.asked < number:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def _agent(self, number: int) -> AsyncIterator[Agent]:
        address = StoreAddress(url=self._server.url)
        settings = replace(
            agent_settings(gpus=Gpus(WORKERS + MORE_SLOTS)),
            pod_uid=PodUid(f"pod-{number}"),
            state_file=self._folder / f"agent-{number}.json",
            quota=QuotaSettings(store=address, budget=BUDGET, probe_every=Seconds(0.1)),
        )
        store = ValkeyQuotaStore(address, BUDGET)
        agent = Agent(settings, SystemClock(), store)
        work = asyncio.create_task(agent.run())
        try:
            yield agent
        finally:
            await agent.quota.finish(Seconds(5.0))
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
            await store.close()

    async def _work(self, agent: Agent) -> None:
        while self.sums.asked < self._plan.requests:
            self.sums.asked += 1
            number, book, lost = self.sums.asked, self._book, self._book in self._lost
            user = f"user-{self._luck.randrange(self._plan.users)}"
            key = f"key-{number % 7}" if number % 10 == 0 else None
            cost = Cost(images=1 + (number % 4 == 0), width=512, height=512)
            outcome = await agent.admission.admit(Ask(tier=TierName(book), user=user, cost=cost, key=key), Patient())
            if isinstance(outcome, Refusal):
                await self._turned_away(outcome.reason, lost=lost)
            else:
                self.sums.granted_after_flush += lost
                await self._make(agent, outcome)

    async def _turned_away(self, reason: Reason, *, lost: bool) -> None:
        self.sums.refused[reason] += 1
        self._refused_since_flush += lost
        if lost and self._refused_since_flush >= REFUSED_AFTER_FLUSH and self._book in self._lost:
            self._book = next(self._books)
        await asyncio.sleep(RETRY_AFTER if reason is Reason.QUOTA_STORE else 0)

    async def _make(self, agent: Agent, visit: Visit) -> None:
        """Of twenty requests one fails, and one that asked for two gets one of them."""
        made = 0 if self._luck.random() < 1 / 20 else visit.images
        if made > 1 and self._luck.random() < 1 / 20:
            made = 1
        self.sums.in_flight[visit.tier] += visit.images
        await asyncio.sleep(self._luck.random() * MOST_IMAGE_SECONDS)
        self.sums.in_flight[visit.tier] -= visit.images
        self.sums.images[visit.tier, visit.ask.user] += made
        good = made > 0
        agent.admission.finish(
            visit, Result(status=200 if good else 500, finished=good, delivered=good, images=made if good else None)
        )

    async def _befall(self) -> None:
        apart = self._plan.requests // (len(self._plan.faults) + 1)
        for number, fault in enumerate(self._plan.faults, start=1):
            await self._asked(number * apart)
            await self._do(fault)
            self.sums.faults[fault] += 1

    async def _do(self, fault: Fault) -> None:
        if fault is Fault.FLUSH:
            await self._some_in_flight()
            self.sums.in_flight_at_flush += self.sums.in_flight[self._book]
            await asyncio.to_thread(self._server.client().flushall)
            self._refused_since_flush = 0
            self._lost.add(self._book)
            return
        await asyncio.to_thread(self._server.kill if fault is Fault.KILL else self._server.stop)
        await asyncio.sleep(AWAY)
        await asyncio.to_thread(self._server.start)

    async def _some_in_flight(self) -> None:
        """A flush is hardest while images are made; a moment later is as good."""
        for _ in range(LOOKS):
            if self.sums.in_flight[self._book]:
                return
            await asyncio.sleep(0.001)


def zone_far_from_midnight() -> str:
    """A zone where it is about noon, so that no day begins during a run."""
    behind = int(SystemClock().now() // 3600 % 24) - 12
    return f"Etc/GMT{behind:+d}" if behind else "UTC"
