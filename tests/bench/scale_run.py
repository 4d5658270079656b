"""One size: the fleet, the operator's start, a quiet time, a surge, a recall, the ebb; what was seen of each."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from bench.ending import end
from bench.scale_fleet import ASKED, LENDERS, SERVICES, Size, make, pool_of
from bench.scale_operator import Gauges, Look, launch_at
from bench.scale_rivals import Listed, rivals
from bench.scale_trail import NODES, Trail, whole_nodes
from faults import world
from faults.agents import Agents
from faults.ground import PODS, install_chart
from faults.process import OperatorProcess
from faults.rest import Admin
from meltguard.adapters.kubernetes_list import read_all
from meltguard.clock import SystemClock
from meltguard.controller.recall import Recall
from meltguard.core.units import Seconds
from meltguard.localcluster.plane import Plane
from support.eventually import eventually

QUIET: Final = 0.5
"""Share of the services' GPUs that users keep busy before the surge, and after it."""

MORE: Final = ASKED + 4
"""Nodes' work that a surge asks of each service beyond what it can do."""

QUIET_TIME: Final = Seconds(20.0)
FULL: Final = sum(LENDERS.values())
CALLED: Final = "batch"
"""The lender that calls its nodes home in the midst of the surge."""

MADE_WITHIN: Final = 900.0
STEP_WITHIN: Final = 300.0
Say = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Measured:
    """What one size showed. Times in seconds; None: it did not come to that."""

    size: Size
    pods: int = 0
    made: float = 0.0
    started: dict[str, float | None] = field(default_factory=dict)  # since the process was started
    surged: dict[str, float | None] = field(default_factory=dict)  # since users ask for more
    recalled: float | None = None  # from the order to the last claim that is off
    ebbed: float | None = None  # from calm users to the last claim that is off
    looks: dict[str, Look] = field(default_factory=dict)  # by what begins then
    listed: Sequence[Listed] = ()
    lent: int = 0  # nodes that were Lent
    over: Sequence[str] = ()  # bounds that were passed
    changed: Sequence[str] = ()  # nodes that are not as before
    ends: int = 0  # times that the operator ended
    failed: str = ""  # what it did not come to


@dataclass(slots=True, kw_only=True)
class Scene:
    """A fleet, its agents and its operator."""

    admin: Admin
    agents: dict[str, Agents]
    operator: OperatorProcess
    gauges: Gauges
    trail: Trail
    measured: Measured

    @property
    def told(self) -> int:
        """Pods that took a document."""
        return len({one.uid for agents in self.agents.values() for one in agents.told})

    def limited_since(self, count: dict[str, int]) -> bool:
        """Whether an agent was told of a rate since it had heard so many documents."""
        return any(
            one.rate("free") < float("inf")
            for name, agents in self.agents.items()
            for one in agents.told[count[name] :]
        )

    def calm(self) -> None:
        """From now on users keep QUIET of the services' GPUs busy."""
        self._ask(QUIET * self.measured.size.each, waiting=0.0)

    def surge(self) -> None:
        """From now on they ask for more than there is, and wait."""
        self._ask(self.measured.size.each + MORE, waiting=20.0)

    def _ask(self, nodes: float, waiting: float) -> None:
        for agents in self.agents.values():
            agents.ask(nodes * world.GPUS)
            agents.waiting = waiting


async def run(plane: Plane, size: Size, say: Say) -> Measured:
    """All of it, on a plane that has nothing yet."""
    measured = Measured(size=size)
    with tempfile.TemporaryDirectory(prefix="meltguard-scale-") as folder:
        async with scene(plane, Path(folder), measured, say) as made:
            before = await whole_nodes(made.admin)
            try:
                await _story(made, say)
            except TimeoutError as exc:
                measured.failed = str(exc) or "something took too long"
            after = await whole_nodes(made.admin)
            measured.changed = sorted(
                name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
            )
            measured.ends, measured.over = len(made.operator.exits), tuple(dict.fromkeys(made.trail.over))
            measured.lent = len({one.node for one in made.trail.steps if one.step == "Lent"})
    return measured


@asynccontextmanager
async def scene(plane: Plane, folder: Path, measured: Measured, say: Say) -> AsyncIterator[Scene]:
    """The fleet with everything on it Ready; the operator is not started yet."""
    size, clock = measured.size, SystemClock()
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(Admin.of(plane))
        began = clock.elapsed()
        await install_chart(plane, admin, folder)
        await make(admin, size)
        agents = {name: await stack.enter_async_context(Agents(name)) for name in SERVICES}
        tasks = [asyncio.create_task(_follow(admin, agents))]
        await _soon(lambda: all(len(one) == size.each for one in agents.values()), "every agent", MADE_WITHIN)
        measured.pods = await _settled(admin)
        measured.made = clock.elapsed() - began
        say(f"{size.nodes} nodes, {measured.pods} pods made in {measured.made:.0f} s")
        measured.listed = await rivals(plane, folder)
        listing = await read_all(admin.api, NODES, lambda _: None)
        trail = Trail(members=_members(size))
        tasks.append(asyncio.create_task(trail.follow(admin, listing.resource_version)))
        operator = launch_at(plane, folder)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        gauges = Gauges(operator, admin, session)
        try:
            yield Scene(admin=admin, agents=agents, operator=operator, gauges=gauges, trail=trail, measured=measured)
        finally:
            await operator.close()
            await end(tasks)


async def _story(made: Scene, say: Say) -> None:
    measured = made.measured
    made.calm()
    await _start(made)
    say(f"started: {_in_words(measured.started)}")
    measured.looks["quiet"] = await made.gauges.look()
    await asyncio.sleep(QUIET_TIME)  # what a quiet operator costs is a rate over time
    measured.looks["surge"] = await made.gauges.look()
    await _surge(made)
    say(f"surge: {_in_words(measured.surged)}")
    measured.looks["recall"] = await made.gauges.look()
    await _recall(made)
    measured.looks["ebb"] = await made.gauges.look()
    say(f"recall of {CALLED}: {measured.recalled:.1f} s")
    began = SystemClock().elapsed()
    made.calm()
    await _soon(lambda: not made.trail.claims, "every node at home after the ebb")
    measured.ebbed = SystemClock().elapsed() - began
    say(f"ebb: {measured.ebbed:.1f} s")
    measured.looks["end"] = await made.gauges.look()


async def _start(made: Scene) -> None:
    """Its process, its mirrors, its first decisions, and the last agent that heard of one."""
    clock, started = SystemClock(), made.measured.started
    began = clock.elapsed()
    made.operator.open()
    async with asyncio.timeout(STEP_WITHIN):
        while not await made.gauges.is_ready():  # noqa: ASYNC110 - the process tells nobody
            await asyncio.sleep(0.05)
    started["cluster read"] = clock.elapsed() - began
    await _soon(lambda: made.told > 0, "a first document")
    started["first decision heard"] = clock.elapsed() - began
    await _soon(lambda: made.told == sum(len(one) for one in made.agents.values()), "a document at every agent")
    started["every agent heard"] = clock.elapsed() - began


async def _surge(made: Scene) -> None:
    """Until all that the lenders give is lent."""
    clock, surged, trail = SystemClock(), made.measured.surged, made.trail
    heard = {name: len(agents.told) for name, agents in made.agents.items()}
    began = clock.elapsed()
    made.surge()
    await _soon(lambda: made.limited_since(heard), "a limit at an agent")
    surged["first limit"] = clock.elapsed() - began
    await _soon(lambda: len(trail.at("Lent")) == FULL, f"{FULL} nodes lent")
    surged["first claim"], surged["last claim"] = trail.first("Claimed", began), trail.last("Claimed", began)
    surged["first lent"], surged["last lent"] = trail.first("Lent", began), trail.last("Lent", began)
    extra = sum(len(one) for one in made.agents.values())
    want = made.measured.size.each * len(SERVICES) + FULL
    await _soon(lambda: sum(len(one) for one in made.agents.values()) >= want, f"{want} pods, {extra} so far")
    surged["serving on all"] = clock.elapsed() - began


async def _recall(made: Scene) -> None:
    """A person's word on one lender, as `kubectl meltguard recall` writes it."""
    clock = SystemClock()
    recall = Recall(api=made.admin.api, clock=clock, say=lambda _: None)
    began = clock.elapsed()
    await recall.order(CALLED, (await recall.loans(CALLED)).keys(), "the scale bench")
    await _soon(lambda: all(one.home != CALLED for one in made.trail.claims.values()), f"{CALLED}'s nodes at home")
    made.measured.recalled = clock.elapsed() - began


async def _follow(admin: Admin, agents: dict[str, Agents]) -> None:
    """Keep an agent on every serving pod."""
    while True:
        pods = await admin.items(PODS)
        for one in agents.values():
            await one.follow(pods)
        await asyncio.sleep(0.25)


async def _settled(admin: Admin) -> int:
    """How many pods there are, once all of them run and all nodes are Ready."""
    async with asyncio.timeout(MADE_WITHIN):
        while True:
            nodes = (await read_all(admin.api, NODES, bytes)).items
            pods = (await read_all(admin.api, "/api/v1/pods", bytes)).items
            if all(map(_is_ready, nodes)) and all(b'"phase":"Running"' in one for one in pods):
                return len(pods)
            await asyncio.sleep(2.0)


def _is_ready(node: bytes) -> bool:
    return b'"type":"Ready","status":"True"' in node


def _members(size: Size) -> dict[str, int]:
    every = [pool_of(number) for number in range(size.lending)]
    return {name: every.count(name) for name in LENDERS}


async def _soon(holds: Callable[[], bool], what: str, within: float = STEP_WITHIN) -> None:
    """Wait for it. Raises TimeoutError, which says what was waited for."""
    try:
        await eventually(holds, within)
    except TimeoutError as exc:
        raise TimeoutError(f"not within {within:.0f} s: {what}") from exc


def _in_words(times: dict[str, float | None]) -> str:
    return ", ".join(f"{what} {'-' if took is None else f'{took:.1f} s'}" for what, took in times.items())
