"""Two services fight over one lender for half an hour of the law's time; the audit log is the judge."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from faults import world
from faults.agents import Agents
from faults.checker import check
from faults.evidence import Node, Pod, pod_of, read_deeds
from faults.fast_clock import FastClock
from faults.ground import Ground, Operators, follow, ground
from faults.holdings import claims_begun, mean_held
from faults.promises import Evidence, Promises
from faults.replay import NodeStep, node_steps
from faults.rest import path_of
from faults.scenario import CALM
from faults.setting import Setting
from meltguard.api.recall import RECALL_ANNOTATION, RecallText, write_recall
from meltguard.clock import SystemClock, rfc3339
from meltguard.core.rest import SHORTEST_REST
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

SURGES: Final = (
    (0.0, FLOOD, CALM),  # the light one alone
    (3.0, FLOOD, FLOOD),  # the heavy one comes late
    (15.5, CALM, CALM),  # both ebb
    (21.5, FLOOD, FLOOD),  # again, at the same time
    (29.5, THREE_NODES, FLOOD),  # after the recall: the light one has priority now, and wants less
)
"""At which of the law's minutes the light and the heavy service are asked for how much."""

RECALL_AT, ENDS_AT = 27.5, 36.5

SHARES: Final = (
    ("who is alone has everything", 2.0, 3.0, (6.0, 0.0)),
    ("who came late has its share", 14.0, 15.5, (2.0, 4.0)),
    ("after the ebb all are home", 21.0, 21.5, (0.0, 0.0)),
    ("who come together have their shares soon", 26.0, 27.5, (2.0, 4.0)),
    ("after a recall the lender is left alone", 29.5, 32.5, (0.0, 0.0)),
    ("priority comes before weight", 35.0, 36.5, (3.0, 3.0)),
)
"""Between two minutes, the nodes of the light and of the heavy service on the average."""

TOLERANCE: Final = 0.2


def policy(name: str, pool: str, weight: int) -> dict[str, Any]:
    made = world.a_policy(SHAPE, name, name)
    made["spec"]["capacity"] |= {"pool": pool, "weight": weight, "returnAfter": "20s"}
    return made


POLICIES = [policy("image-gen", "inference", 1), policy("image-edit", "studio", 2)]


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
        read = [await self.found.admin.get(path_of(one)) for one in POLICIES]
        return all("decision" in ((one or {}).get("status") or {}) for one in read)

    async def reach(self, minute: float, start: float) -> None:
        """Let the fight go on until then."""
        await eventually(lambda: self.clock.minutes() >= start + minute, 60.0 * (ENDS_AT + 1.0) / RATE)

    def ask(self, light: float, heavy: float) -> None:
        """From now on users ask for so many image units a second."""
        self.found.agents.ask(light)
        self.other.ask(heavy)

    async def recall(self) -> None:
        """A person of the lender's wants all nodes back; when that is over, the light service has priority."""
        order = RecallText(before=rfc3339(self.clock.now()), reason="a paper is due")
        lender = path_of(world.a_pool("research", {}))
        await self.found.admin.merge(lender, {"metadata": {"annotations": {RECALL_ANNOTATION: write_recall(order)}}})
        await self.found.admin.merge(path_of(POLICIES[0]), {"spec": {"capacity": {"priority": 50}}})

    async def run(self) -> float:
        """The half hour; in which minute of the clock's it began."""
        start = self.clock.minutes()
        for minute, light, heavy in SURGES:
            if minute > RECALL_AT:
                await self.reach(RECALL_AT, start)
                await self.recall()
            await self.reach(minute, start)
            self.ask(light, heavy)
        await self.reach(ENDS_AT, start)
        return start


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


async def test_floors_shares_and_rests_hold_while_two_services_fight_for_half_an_hour(
    lone_plane: Plane, tmp_path: Path
) -> None:
    async with a_fight(lone_plane, tmp_path) as fight:
        await until(fight.is_set, 60.0)
        offset = lone_plane.audit_log.stat().st_size
        before = await Setting(fight.found).nodes()
        pods = [pod_of(body) for body in await fight.found.admin.items("/api/v1/pods")]
        fight.found.operator.open()
        await fight.found.operator.up()
        fight.ask(CALM, CALM)
        for made in POLICIES:
            await fight.found.admin.apply(made)
        await until(fight.both_decide, 60.0)
        start = await fight.run()
        await asyncio.to_thread(judge, fight.clock, (lone_plane.audit_log, offset), (before, pods), start)


def judge(clock: FastClock, log: tuple[Path, int], found: tuple[dict[str, Node], list[Pod]], start: float) -> None:
    """By the law's own time: no promise broken at any write, and the shares as declared."""
    deeds = [clock.read(deed) for deed in read_deeds(*log)]
    promises = Promises(floor=SHAPE.floor, max_loans=SHAPE.max_loans, lag=RATE, bind_lag=0.5 * RATE)
    evidence = Evidence(nodes=found[0], pods=found[1], deeds=deeds)
    assert [str(one) for one in check(evidence, promises)] == []
    steps = tuple(node_steps(found[0], deeds))
    zero = clock.law(clock.began) + 60.0 * start
    had = {said: held(steps, zero + 60.0 * since, zero + 60.0 * end) for said, since, end, _ in SHARES}
    wanted = {said: shares for said, _, _, shares in SHARES}
    wrong = {said: had[said] for said in had if not near(had[said], wanted[said])}
    assert not wrong, wrong
    recalled = zero + 60.0 * RECALL_AT
    asked_again = min(at for at in claims_begun(steps) if at > recalled)
    assert asked_again - recalled >= SHORTEST_REST


def held(steps: tuple[NodeStep, ...], since: float, end: float) -> tuple[float, float]:
    return mean_held(steps, LIGHT, since, end), mean_held(steps, HEAVY, since, end)


def near(had: tuple[float, float], wanted: tuple[float, float]) -> bool:
    return all(abs(one - other) <= TOLERANCE for one, other in zip(had, wanted, strict=True))
