"""Two services fight over one lender, at the pace of the law; the audit log is the judge."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from faults import world
from faults.agents import Agents
from faults.checker import check
from faults.evidence import pod_of, read_deeds
from faults.fast_clock import FastClock
from faults.ground import Ground, Operators, follow, ground
from faults.promises import Evidence, Promises
from faults.replay import claims_begun, node_steps
from faults.rest import path_of
from faults.scenario import CALM
from faults.setting import Setting
from meltguard.clock import SystemClock
from meltguard.core.rest import SHORTEST_REST
from meltguard.core.units import Instant
from meltguard.localcluster.plane import Plane
from support.eventually import eventually
from support.overload import until

pytestmark = pytest.mark.plane

RATE: Final = 15.0
"""A law's minute takes four seconds."""

SHAPE = world.Shape(floor=1, max_loans=6, max_loan="2h")
FLOOD = 90.0
"""Image units a second for one service: more than its own nodes and all that can be lent would do."""

THREE_NODES = 36.0
"""What one service can do with three nodes on loan, and not with two."""

LIGHT, HEAVY = "serving/image-gen", "serving/image-edit"
NODES = world.research_names("shares", 7)


@dataclass(frozen=True, slots=True)
class Stretch:
    """What the light and the heavy service are asked for, and how many nodes each has by and by."""

    said: str
    asked: tuple[float, float]
    had: tuple[int, int]


CALM_AFTER: Final = Stretch("after the ebb all are home", (CALM, CALM), (0, 0))
BEFORE_RECALL: Final = (
    Stretch("who is alone has everything", (FLOOD, CALM), (6, 0)),
    Stretch("who comes late has its share", (FLOOD, FLOOD), (2, 4)),
    CALM_AFTER,
    Stretch("who come together have their shares", (FLOOD, FLOOD), (2, 4)),
)
AFTER_RECALL: Final = Stretch("priority comes before weight", (THREE_NODES, FLOOD), (3, 3))
"""The light service has priority then, and wants less."""

SETTLES: Final = 20.0
"""The law's minutes within which nodes are where they belong; a service that gives one up rests before it takes."""

STAYS: Final = 1.0
"""For so many minutes they stay there."""

LASTS: Final = 30.0
"""Minutes of the law that they fight."""


def policy(name: str, pool: str, weight: int) -> dict[str, Any]:
    made = world.a_policy(SHAPE, name, name)
    made["spec"]["capacity"] |= {"pool": pool, "weight": weight, "returnAfter": "20s"}
    return made


POLICIES = [policy("image-gen", "inference", 1), policy("image-edit", "studio", 2)]


class Stay(NamedTuple):
    """Nodes were where they belong between two moments of the law's time."""

    stretch: Stretch
    since: Instant
    ends: float


@dataclass(frozen=True, slots=True)
class Fight:
    """The lender, two services with nodes and users of their own, and an operator on a fast clock."""

    found: Ground
    other: Agents  # of the heavy service
    clock: FastClock

    async def is_set(self) -> bool:
        """Whether all nodes and serving pods are there."""
        return await Setting(self.found).is_set(NODES) and len(self.other) == world.SERVERS

    async def both_decide(self) -> bool:
        """Whether the operator has met both policies."""
        return all(["decision" in await self.found.admin.status(path_of(one)) for one in POLICIES])

    async def run(self, stretch: Stretch, until_at: Instant = Instant(0.0)) -> Stay:
        """Users ask, and the nodes go where they belong and stay there, at least until then; when it was."""
        self.found.agents.ask(stretch.asked[0])
        self.other.ask(stretch.asked[1])
        wanted = Counter({LIGHT: stretch.had[0], HEAVY: stretch.had[1]})

        async def settled() -> bool:
            return await self.held() == wanted

        await until(settled, 60.0 * SETTLES / RATE)
        since = self.clock.now()
        ends = max(since + 60.0 * STAYS, until_at)
        await eventually(lambda: self.clock.now() >= ends, 120.0 + (ends - since) / RATE)
        return Stay(stretch, since, ends)

    async def held(self) -> Counter[str]:
        """How many nodes each service has."""
        return Counter(str(claim["policy"]) for claim in (await Setting(self.found).claims()).values())

    async def recall(self) -> Instant:
        """A person of the lender's wants all nodes back; after that the light service has priority. When it was."""
        at = self.clock.now()
        await Setting(self.found).recall("research", at)
        await self.found.admin.merge(path_of(POLICIES[0]), {"spec": {"capacity": {"priority": 50}}})
        await until(self.has_nothing, 60.0 * SETTLES / RATE)
        return at

    async def has_nothing(self) -> bool:
        """Whether all nodes are home."""
        return not await self.held()


@asynccontextmanager
async def a_fight(plane: Plane, directory: Path) -> AsyncIterator[Fight]:
    clock = FastClock(began=SystemClock().now(), rate=RATE)
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(ground(plane, Operators(directory=directory, clock=clock)))
        other = await stack.enter_async_context(Agents("image-edit"))
        following = asyncio.create_task(follow(found.admin, other))
        stack.callback(following.cancel)
        studio = [world.a_node(f"studio-{number}", "studio") for number in (1, 2)]
        pools = [*world.pools(SHAPE), world.a_pool("studio", {})]
        for made in (*studio, *(world.a_node(name, "research") for name in NODES), *pools):
            await found.admin.apply(made)
        await found.admin.apply(world.deployment("image-edit", "studio"))
        yield Fight(found, other, clock)


async def test_floors_shares_and_rests_hold_while_two_services_fight(lone_plane: Plane, tmp_path: Path) -> None:
    async with a_fight(lone_plane, tmp_path) as fight:
        await until(fight.is_set, 60.0)
        offset = lone_plane.audit_log.stat().st_size
        before = await Setting(fight.found).nodes()
        pods = [pod_of(body) for body in await fight.found.admin.items("/api/v1/pods")]
        fight.found.operator.open()
        await fight.found.operator.up()
        for made in POLICIES:
            await fight.found.admin.apply(made)
        await until(fight.both_decide, 60.0)
        began = fight.clock.now()
        stays = [await fight.run(stretch) for stretch in BEFORE_RECALL]
        recalled = await fight.recall()
        stays.append(await fight.run(AFTER_RECALL, Instant(began + 60.0 * LASTS)))
        deeds = [fight.clock.read(deed) for deed in read_deeds(lone_plane.audit_log, offset)]
        await asyncio.to_thread(judge, Evidence(nodes=before, pods=pods, deeds=deeds), stays, recalled)


def judge(evidence: Evidence, stays: Sequence[Stay], recalled: Instant) -> None:
    """By the law's own time: no promise is broken at any write, shares last, and a recalled lender is left alone."""
    promises = Promises(floor=SHAPE.floor, max_loans=SHAPE.max_loans, lag=RATE, bind_lag=0.5 * RATE)
    assert [str(one) for one in check(evidence, promises)] == []
    begun = tuple(claims_begun(tuple(node_steps(evidence.nodes, evidence.deeds))))
    for stay in stays:
        again = [at for at in begun if stay.since < at <= stay.ends]
        assert not again, f"{stay.stretch.said}: nodes changed hands again"
    assert min(at for at in begun if at > recalled) - recalled >= SHORTEST_REST
