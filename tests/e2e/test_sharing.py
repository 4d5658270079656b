"""Two services fight over one lender, surge after surge; the audit log is the judge of floors and of rest."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from faults import world
from faults.checker import check
from faults.evidence import pod_of, read_deeds
from faults.ground import Ground, Operators, ground
from faults.promises import Evidence, Promises
from faults.rest import path_of
from faults.scenario import CALM
from faults.setting import Setting, settled
from meltguard.localcluster.plane import Plane
from support.overload import until

pytestmark = pytest.mark.plane

SHAPE = world.Shape(floor=1, max_loans=6)
FLOOD = 90.0
"""Image units a second: more than all nodes together could do."""

SHARES = {"serving/light": 2, "serving/heavy": 4}
NODES = world.research_names("shares", 7)


def taker(name: str, weight: int) -> dict[str, Any]:
    """A service that wants all it can get; it sets no replicas, so that the two do not fight over those too."""
    policy = world.a_policy(SHAPE, name)
    del policy["spec"]["service"]["workloadRef"]
    policy["spec"]["capacity"]["weight"] = weight
    return policy


TAKERS = [taker("light", 1), taker("heavy", 2)]


async def loans(found: Ground) -> Counter[str]:
    nodes = await Setting(found).nodes()
    return Counter(str(node.claim["policy"]) for node in nodes.values() if node.claim is not None)


async def are_shared(found: Ground) -> bool:
    return await loans(found) == SHARES


async def are_home(found: Ground) -> bool:
    return not await loans(found)


async def is_set(found: Ground) -> bool:
    nodes = await Setting(found).nodes()
    ready = all(name in nodes and nodes[name].ready and settled(nodes[name]) for name in NODES)
    return ready and len(found.agents) == world.SERVERS


async def surge(found: Ground, within: float) -> None:
    found.agents.ask(FLOOD)
    await until(lambda: are_shared(found), within)
    found.agents.ask(CALM)
    await until(lambda: are_home(found), 60.0)


async def test_shares_are_as_declared_and_no_node_is_moved_within_its_rest(lone_plane: Plane, tmp_path: Path) -> None:
    """Two surges, the second while every node still rests from the first; 100 s are more than an hour for this law."""
    async with ground(lone_plane, Operators(directory=tmp_path)) as found:
        for made in (*(world.a_node(name, "research") for name in NODES), *world.pools(SHAPE)):
            await found.admin.apply(made)
        await until(lambda: is_set(found), 60.0)
        offset = lone_plane.audit_log.stat().st_size
        before = await Setting(found).nodes()
        pods = [pod_of(body) for body in await found.admin.items("/api/v1/pods")]
        found.operator.open()
        await found.operator.up()
        found.agents.ask(CALM)
        for policy in TAKERS:
            await found.admin.apply(policy)
        await until(lambda: both_decide(found), 60.0)
        await surge(found, 60.0)
        await surge(found, 150.0)
        for policy in TAKERS:
            await found.admin.delete(path_of(policy))
        deeds = await asyncio.to_thread(read_deeds, lone_plane.audit_log, offset)
        promises = Promises(floor=SHAPE.floor, max_loans=len(TAKERS) * SHAPE.max_loans)
        evidence = Evidence(nodes=before, pods=pods, deeds=deeds)
        assert [str(one) for one in await asyncio.to_thread(check, evidence, promises)] == []


async def both_decide(found: Ground) -> bool:
    read = [await found.admin.get(path_of(policy)) for policy in TAKERS]
    return all("decision" in ((one or {}).get("status") or {}) for one in read)
