"""A whole operator before a service that is asked for more than it can do, with a Prometheus that can fall ill."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from faults import world
from faults.ground import Ground, Operators, ground
from faults.rest import path_of
from faults.scenario import CALM, NODES, OVERLOAD
from meltguard.localcluster.plane import Plane
from support.eventually import eventually
from support.eventually import until as often
from support.fake_apiserver import serving
from support.promql import heat, vector

SHAPE = world.Shape(busy=True, floor=1)
Json = dict[str, Any]
until = partial(often, every=0.2)
"""Look until it holds: less often than where an API server is not asked."""


@dataclass
class Source:
    """A Prometheus that can fall ill in every way."""

    mood: str = "well"
    used: float = 0.9  # of the second spelling, a ratio
    nodes: Sequence[str] = ("inference-1", "inference-2")
    xids: dict[str, int] = field(default_factory=dict)  # by node: the last Xid error that its exporter tells

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Any query, about every node."""
        if self.mood == "unreachable":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if self.mood == "empty":
            return web.json_response(vector())
        if "XID" in str((await request.post()).get("query", "")):
            told = [heat(xid, 1.0, Hostname=name, UUID=name) for name, xid in self.xids.items()]
            return web.json_response(vector(*(pair for pairs in told for pair in pairs)))
        value = "NaN" if self.mood == "NaN" else self.used
        age = 600.0 if self.mood == "stale" else 1.0
        series = [pair for name in self.nodes for pair in heat(value, age, Hostname=name, UUID=name)]
        return web.json_response(vector(*series))


@dataclass
class Overload:
    """The ground, the source, and a policy that is applied on it."""

    ground: Ground
    source: Source

    async def apply(self, mode: str = "Enforce", **spec: Any) -> None:
        """The policy, with a platform signal that must confirm loans."""
        policy = world.a_policy(world.Shape(busy=True, floor=1, mode=mode))
        policy["spec"]["metrics"]["signals"].append(
            {"name": "utilization", "preset": "gpu-utilization", "use": "Confirm"}
        )
        policy["spec"]["tiers"] = [{"name": "free", "floor": "2%", "onLevel": {"Elevated": "Delay"}}]
        policy["spec"] |= spec
        await self.ground.admin.apply(policy)

    async def status(self) -> Json:
        """The policy's."""
        return await self.ground.admin.status(path_of(world.a_policy(SHAPE)))

    async def condition(self, kind: str) -> Json:
        """One of its conditions."""
        conditions = (await self.status()).get("conditions", [])
        return next((one for one in conditions if one["type"] == kind), {})

    async def claims(self) -> list[str]:
        """Nodes that bear one."""
        nodes = await self.ground.admin.items(NODES)
        return [node["metadata"]["name"] for node in nodes if "meltguard.io/loan" in node["metadata"]["annotations"]]

    async def limit(self) -> float | None:
        """The free tier's rate; None while there is none."""
        limits = (await self.status()).get("limits", [])
        rate = next((one.get("rate") for one in limits if one["tier"] == "free"), None)
        return None if rate in {None, "none"} else float(rate.removesuffix("/m"))

    async def limited(self) -> bool:
        """Whether the free tier is."""
        return await self.limit() is not None

    async def is_blocked(self) -> bool:
        """Whether a wanted loan is refused."""
        return (await self.condition("BorrowingBlocked")).get("status") == "True"

    async def rollouts_are(self, state: str) -> bool:
        """Whether the status says this of updates, which it does a moment after it is so."""
        return bool((await self.status()).get("rollouts", {}).get("state") == state)

    async def told(self) -> list[str]:
        """Reasons of the policy's Events, in the order of their posting."""
        events = await self.ground.admin.items(f"/apis/events.k8s.io/v1/namespaces/{world.SERVING}/events")
        ours = [event for event in events if event["regarding"].get("kind") == "ImageServicePolicy"]
        return [event["reason"] for event in sorted(ours, key=lambda event: event["eventTime"])]

    async def has_told(self, *reasons: str) -> bool:
        """Whether there is an Event of each: they are posted beside what they tell, not before it."""
        return set(reasons) <= set(await self.told())

    async def decided_again(self, times: int) -> None:
        """So many more decisions were written down."""
        for _ in range(times):
            before = (await self.status()).get("decision", {}).get("at")
            await until(lambda at=before: self._decided_after(at), 30.0)  # type: ignore[misc] # bound now

    async def _decided_after(self, at: str | None) -> bool:
        now: str | None = (await self.status()).get("decision", {}).get("at")
        return now != at

    def ebb(self) -> None:
        """Users ask for little, and the GPUs' exporter sees it."""
        self.ground.agents.ask(CALM)
        self.ground.agents.waiting = 0.0
        self.source.used = 0.25

    async def end(self) -> None:
        """Calm, and everything home."""
        self.source.mood = "well"
        self.ebb()
        await self.ground.admin.delete(path_of(world.a_policy(SHAPE)))
        await until(self._at_rest, 60.0)

    async def _at_rest(self) -> bool:
        return not await self.claims() and not await self.status()


@asynccontextmanager
async def an_overload(plane: Plane, directory: Path) -> AsyncIterator[Overload]:
    """Operators, pools, busy research nodes and a service that is asked for more than it can do."""
    source = Source()
    async with serving(source.answer) as url, ground(plane, Operators(directory=directory)) as found:
        config = directory / "config.yaml"
        config.write_text(config.read_text().replace(plane.prometheus_url, url))
        lab = world.research_names(uuid.uuid4().hex[:6], 3)
        source.nodes = (*source.nodes, *lab)
        for name in lab:
            await found.admin.apply(world.a_node(name, "research"))
            await found.admin.create(world.a_job(name))
        for pool in world.pools(SHAPE):
            await found.admin.apply(pool)
        found.operator.open()
        await found.operator.up()
        await eventually(lambda: len(found.agents) == 2, 60.0)
        found.agents.ask(OVERLOAD)
        found.agents.waiting = 1.2
        yield Overload(found, source)
