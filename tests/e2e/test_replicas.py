"""The workload's replicas: ours while nobody else sets them, and worth nothing until the new pods' agents answer."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from faults import world
from faults.evidence import read_deeds
from faults.fast_clock import FastClock
from faults.ground import Ground, Operators, ground
from faults.promises import IDENTITY
from faults.rest import path_of
from faults.scenario import CALM
from faults.setting import Setting, settled
from meltguard.api.memory import read_memory
from meltguard.clock import SystemClock
from meltguard.core.loading import Loading
from meltguard.localcluster.plane import Plane
from support.overload import until
from support.replica_writers import an_hpa, from_git, keda, no_hpa, no_keda

pytestmark = pytest.mark.plane

Json = dict[str, Any]
SHAPE: Final = world.Shape(floor=0, max_loans=14, max_loan="2h")
POLICY: Final = world.a_policy(SHAPE)
LOADS: Final = 4.0
"""Seconds until a new pod's agent answers."""

MINUTE: Final = 60.0 * world.GPUS
"""Image units a minute that one pod does."""

LEAVE: Final = 20.0
"""Seconds that pods have to go by themselves, before those left are evicted."""

RATE: Final = 10.0
"""A law's minute takes six seconds, where it is the law's time that is waited for."""

ROUNDED: Final = 0.1
"""Seconds: what is remembered is rounded."""


class _Scene:
    """A service in a surge, and whoever else sets its replicas."""

    def __init__(self, found: Ground) -> None:
        self.found, self.admin = found, found.admin

    async def lender_has(self, *nodes: Json) -> None:
        """These nodes are the lender's, and Ready."""
        for node in nodes:
            await self.admin.apply(node)
        names = [node["metadata"]["name"] for node in nodes]

        async def ready() -> bool:
            there = await Setting(self.found).nodes()
            return all(name in there and there[name].ready and settled(there[name]) for name in names)

        await until(ready, 60.0)

    async def status(self) -> Json:
        return await self.admin.status(path_of(POLICY))

    async def decision(self) -> Json:
        decision: Json = (await self.status()).get("decision") or {}
        return decision

    async def answering(self, count: int) -> bool:
        return bool((await self.decision()).get("answeringPods") == count)

    async def capacity(self) -> float:
        return float((await self.decision()).get("capacity", "0/m").removesuffix("/m"))

    async def rule(self, name: str) -> str:
        rules = (await self.decision()).get("rules", [])
        return next((str(one["text"]) for one in rules if one["rule"] == name), "")

    async def learned(self) -> Loading:
        """How long pods take to start, once that is told; it may have met the service's own two as they started."""

        async def told() -> bool:
            return (await self.rule("loans serve")).startswith("pods start in ")

        await until(told, 30.0)
        return read_memory((await self.status())["memory"]).loading

    async def conflict(self) -> str:
        """What the condition says; "" while there is none."""
        conditions = (await self.status()).get("conditions", [])
        stalled: Json = next((one for one in conditions if one["type"] == "Stalled"), {})
        return str(stalled["message"]) if stalled.get("reason") == "ScaleConflict" else ""

    async def claims(self) -> dict[str, Json]:
        return await Setting(self.found).claims()

    async def lent(self, count: int) -> bool:
        claims = await self.claims()
        return len(claims) == count and all(claim["step"] == "Lent" for claim in claims.values())

    def needs(self, loans: int) -> None:
        """Users ask for what so many borrowed nodes do beside the service's own."""
        self.found.agents.ask(13.0 + world.GPUS * loans)

    async def needs_another(self) -> None:
        """And for what one node more does than all that are lent."""
        self.needs(len(await self.claims()) + 1)

    async def replicas(self) -> int:
        deployment = await self.admin.get(path_of(world.deployment()))
        assert deployment is not None
        return int(deployment["spec"]["replicas"])

    def log_end(self) -> int:
        return self.found.plane.audit_log.stat().st_size

    def our_writes(self, since: int) -> list[Any]:
        """What we asked of the Deployment, done or refused."""
        deeds = read_deeds(self.found.plane.audit_log, since)
        return [deed.asked for deed in deeds if deed.user == IDENTITY and deed.about("deployments", "", "scale")]

    async def ebbs(self, within: float) -> None:
        self.found.agents.ask(CALM)
        await self.admin.delete(path_of(POLICY))

        async def all_home() -> bool:
            return not await self.claims() and not await self.status()

        await until(all_home, within)


@asynccontextmanager
async def surge(operators: Operators, plane: Plane, *nodes: Json) -> AsyncIterator[_Scene]:
    """Two pods serve, and are asked for what needs a third."""
    async with ground(plane, operators) as found:
        scene = _Scene(found)
        for pool in world.pools(SHAPE):
            await found.admin.apply(pool)
        await scene.lender_has(*nodes)
        found.operator.open()
        await found.operator.up()
        found.agents.ask(CALM)
        await found.admin.apply(POLICY)
        await until(lambda: scene.answering(world.SERVERS), 60.0)
        found.agents.loading = LOADS
        scene.needs(1)
        yield scene


def named(*names: str) -> list[Json]:
    return [world.a_node(name, "research") for name in names]


def that_starts_no_pod(name: str) -> Json:
    """Its own taint keeps serving pods off, which nobody thought of: the pod for it stays Pending."""
    node = world.a_node(name, "research")
    node["spec"]["taints"].append({"key": "team.example.com/broken", "effect": "NoSchedule"})
    return node


async def test_new_pods_count_once_their_agents_answer_and_a_late_node_is_not_awaited(
    lone_plane: Plane, tmp_path: Path
) -> None:
    began = SystemClock().elapsed()
    async with surge(Operators(directory=tmp_path), lone_plane, *named("research-1")) as scene:
        scene.found.agents.loading = math.inf  # until that was seen

        async def loads() -> bool:
            decision = await scene.decision()
            return (decision["readyPods"], decision["answeringPods"]) == (3, 2)

        await until(loads, 90.0)
        assert await scene.capacity() <= 2.05 * MINUTE, "a pod that is Ready and does not serve yet counts"
        scene.found.agents.loading = LOADS

        async def counts() -> bool:
            return await scene.capacity() >= 2.9 * MINUTE

        await until(counts, 30.0)
        learned = await scene.learned()
        assert learned.usual is not None
        assert learned.late_after is not None
        assert learned.starts * learned.usual >= LOADS
        assert learned.usual <= SystemClock().elapsed() - began

        await scene.lender_has(that_starts_no_pod("research-2"))
        scene.needs(2)
        await until(lambda: scene.lent(2), 60.0)
        await scene.lender_has(*named("research-3"))
        await until(lambda: scene.lent(3), 120.0)
        claims = await scene.claims()
        assert claims["research-3"]["since"] - claims["research-2"]["lentAt"] >= learned.late_after - ROUNDED
        assert "no agent answers on research-2" in await scene.rule("loans serve")
        await until(lambda: scene.answering(4), 60.0)
        await scene.ebbs(90.0)
        assert await scene.replicas() == world.SERVERS


async def test_another_writer_is_named_and_left_alone_until_it_is_gone(lone_plane: Plane, tmp_path: Path) -> None:
    nodes = named(*(f"research-{number}" for number in range(1, SHAPE.max_loans + 1)))
    clock = FastClock(began=SystemClock().now(), rate=RATE)  # what is judged here takes no time of the law's
    async with surge(Operators(directory=tmp_path, clock=clock), lone_plane, *nodes) as scene:
        await until(lambda: scene.answering(3), 90.0)

        await an_hpa(scene.admin, "by-cpu")
        await stays_off(scene, "HorizontalPodAutoscaler by-cpu")
        await no_hpa(scene.admin, "by-cpu")
        await is_ours_again(scene)

        await from_git(scene.admin, replicas=await scene.replicas())
        await stays_off(scene, "argocd-controller, which applies spec.replicas")
        await from_git(scene.admin)
        await is_ours_again(scene)

        await keda(scene.admin, "by-queue")
        await stays_off(scene, "KEDA's ScaledObject by-queue")
        await no_keda(scene.admin, "by-queue")
        await is_ours_again(scene)

        await is_handed_over(scene)


async def stays_off(scene: _Scene, writer: str) -> None:
    """The condition says who and what to do; a node more is lent, and the number stays as it is.

    Nodes that no pod comes to are late, and others are lent beside them: how many is not looked at.
    """

    async def told() -> bool:
        said = await scene.conflict()
        return writer in said and "capacity.replicas to Others" in said

    await until(told, 30.0)
    since, before = scene.log_end(), await scene.replicas()
    await scene.needs_another()

    async def lends_more() -> bool:
        steps = [claim["step"] for claim in (await scene.claims()).values()]
        return world.SERVERS + steps.count("Lent") > before

    await until(lends_more, 60.0)
    at = (await scene.decision())["at"]

    async def decided_since() -> bool:
        more = world.SERVERS + (await scene.status())["loanCount"] > before
        return bool((await scene.decision())["at"] > at) and more

    await until(decided_since, 30.0)
    assert await told()
    assert scene.our_writes(since) == []
    assert await scene.replicas() == before


async def is_ours_again(scene: _Scene) -> None:
    """One pod more for each node that is lent, and each answers."""

    async def follows() -> bool:
        pods, loans = await scene.replicas(), len(await scene.claims())
        follow = pods == world.SERVERS + loans and await scene.lent(loans)
        return follow and not await scene.conflict() and await scene.answering(pods)

    await until(follows, 60.0)


async def is_handed_over(scene: _Scene) -> None:
    """The autoscaler's number holds, is no conflict, and is not taken back with the last node."""
    await scene.admin.merge(path_of(POLICY), {"spec": {"capacity": {"replicas": "Others"}}})

    async def forgotten() -> bool:
        return "replicasFound" not in await scene.status()

    await until(forgotten, 30.0)
    since = scene.log_end()
    number = await scene.replicas() + 1
    await an_hpa(scene.admin, "theirs", least=number)

    async def theirs() -> bool:
        return await scene.replicas() == number

    await until(theirs, 60.0)
    assert not await scene.conflict()
    await scene.ebbs(LEAVE / RATE + 90.0)  # nobody lowers the number for a node that goes
    assert scene.our_writes(since) == []
    assert await scene.replicas() == number
