"""Limits and capacity before a whole operator: tightened before a node is emptied, and heard when no pod is Ready."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from faults import world
from faults.evidence import Deed, read_deeds
from faults.ground import PODS, Ground, Operators, ground
from faults.promises import IDENTITY
from faults.rest import path_of
from faults.scenario import CALM
from faults.setting import Setting
from meltguard.clock import SystemClock, rfc3339
from meltguard.localcluster.plane import Plane
from support.overload import until

pytestmark = pytest.mark.plane

SHAPE: Final = world.Shape(floor=1, max_loans=1)
POLICY: Final = world.a_policy(SHAPE)
NAMES: Final = ("research-1", "research-2", "research-3")
SURGE: Final = 22.0
"""Image units a second: nearly all that three nodes of eight GPUs do, more than two can."""

OWN: Final = float(world.SERVERS * world.GPUS)
"""Image units a second that the service's own nodes do."""

POOL: Final = "/apis/meltguard.io/v1alpha1/gpupools/research"
NO_TRIM: Final = 1.02
LOADING: Final = "local.meltguard.io/load"
HORIZON: Final = 0.001
"""Seconds: clocks of agents and API server are this machine's; the log is written to the microsecond."""


@pytest.fixture
async def found(lone_plane: Plane, tmp_path: Path) -> AsyncIterator[Ground]:
    """A calm service with two nodes of its own, and a lender with three."""
    async with ground(lone_plane, Operators(directory=tmp_path)) as made:
        for name in NAMES:
            await made.admin.apply(world.a_node(name, "research"))
        for pool in world.pools(SHAPE):
            await made.admin.apply(pool)
        await until(lambda: Setting(made).is_set(NAMES), 60.0)
        made.operator.open()
        await made.operator.up()
        made.agents.ask(CALM)
        await made.admin.apply(POLICY)
        await until(lambda: decided(made), 60.0)
        yield made
        made.agents.ask(0.0)
        await made.admin.delete(path_of(POLICY))
        await until(lambda: is_over(made), 60.0)


async def status(found: Ground) -> dict[str, Any]:
    return await found.admin.status(path_of(POLICY))


async def decided(found: Ground) -> bool:
    return "decision" in await status(found)


async def lent(found: Ground, count: int) -> bool:
    claims = await Setting(found).claims()
    return len(claims) == count and all(claim["step"] == "Lent" for claim in claims.values())


async def all_acknowledge(found: Ground, pods: int) -> bool:
    return (await status(found)).get("acknowledged") == f"{pods}/{pods}"


async def is_over(found: Ground) -> bool:
    """Whether every node is home, and the policy gone: the next one of its name would be taken for it."""
    return await lent(found, 0) and await found.admin.get(path_of(POLICY)) is None


async def serves(found: Ground, pods: int) -> bool:
    """Whether so many Ready pods acknowledged, nobody is limited, and what limits taught the law is forgotten."""
    now = await status(found)
    limits = [one.get("rate") for one in now.get("limits", [])]
    trim = json.loads(now.get("memory", "{}")).get("trim", 1.0)
    return now.get("acknowledged") == f"{pods}/{pods}" and set(limits) <= {None, "none"} and trim <= NO_TRIM


def written(plane: Plane, offset: int) -> list[Deed]:
    return [deed for deed in read_deeds(plane.audit_log, offset) if deed.accepted]


def scaled_down(deeds: list[Deed]) -> float:
    """When the operator asked for as many pods as before the loan."""
    ours = (deed for deed in deeds if deed.user == IDENTITY and deed.about("deployments", "scale"))
    return next(deed.asked_at for deed in ours if deed.after["spec"]["replicas"] == world.SERVERS)


def gone(deeds: list[Deed]) -> float:
    """When the first serving pod was told to go, by whomever."""
    about = (deed for deed in deeds if deed.ref.namespace == world.SERVING and deed.ref.resource == "pods")
    return next(deed.asked_at for deed in about if deed.verb == "delete" or deed.ref.subresource == "eviction")


async def test_every_pod_has_the_tighter_limits_before_a_node_is_emptied(found: Ground) -> None:
    found.agents.ask(SURGE)
    await until(lambda: lent(found, 1), 75.0)
    await until(lambda: serves(found, world.SERVERS + 1), 60.0)

    offset, recalled = found.plane.audit_log.stat().st_size, SystemClock().now()
    order = json.dumps({"before": rfc3339(recalled + 1.0), "reason": "paper deadline", "by": "ada"})
    await found.admin.merge(POOL, {"metadata": {"annotations": {"meltguard.io/recall": order}}})
    await until(lambda: lent(found, 0), 60.0)

    deeds = await asyncio.to_thread(written, found.plane, offset)
    down = scaled_down(deeds)
    assert gone(deeds) >= down - HORIZON
    held = {told.uid: told.rate("free") for told in found.agents.told if told.at <= down + HORIZON}
    ready = {told.uid for told in found.agents.told if recalled <= told.at <= down + HORIZON}
    assert len(ready) == world.SERVERS + 1  # each was told since the recall, the one on the node too
    assert sum(held[uid] for uid in ready) <= 1.1 * OWN


async def unready(found: Ground) -> None:
    """Every serving pod fails its readiness, as overload has it; kwok takes them for pods that load their model."""
    kinds = ("Ready", "ContainersReady")
    failed = [{"type": kind, "status": "False", "reason": "ContainersNotReady"} for kind in kinds]
    loads = {f"{LOADING}-delay": "60m", f"{LOADING}-began": rfc3339(SystemClock().now())}
    for pod in await found.admin.items(PODS):
        path = f"{PODS}/{pod['metadata']['name']}"
        kept = [one for one in pod["status"]["conditions"] if one["type"] not in kinds]
        await found.admin.merge(path, {"metadata": {"annotations": loads}})
        await found.admin.merge(f"{path}/status", {"status": {"conditions": [*kept, *failed]}})


async def ready_again(found: Ground) -> None:
    """And recovers, so that the pod that leaves is the one on the node that goes home."""
    for pod in await found.admin.items(PODS):
        mark = {"metadata": {"annotations": {f"{LOADING}-delay": None}}}
        await found.admin.merge(f"{PODS}/{pod['metadata']['name']}", mark)
    await until(lambda: all_acknowledge(found, world.SERVERS + 1), 60.0)


async def test_an_overload_that_no_pod_survives_as_ready_still_borrows(found: Ground) -> None:
    await unready(found)
    await until(lambda: all_acknowledge(found, 0), 60.0)  # no pod is Ready, so that limits are pushed to none
    found.agents.ask(SURGE)
    found.agents.waiting = 1.2
    await until(lambda: lent(found, 1), 75.0)
    assert (await status(found))["level"] != "Normal"
    found.agents.waiting = 0.0
    await ready_again(found)
