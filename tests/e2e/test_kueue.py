"""Kueue's quota of a lender follows its loans, with the operator killed in the middle and back home without it."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from faults import world
from faults.ground import RELEASE
from faults.rest import path_of
from faults.rules import Hit, Kill, Match, Meddle, Moment, Rule
from faults.scenario import CALM
from meltguard.errors import Conflict
from meltguard.localcluster.binaries import binary
from meltguard.localcluster.plane import Plane
from meltguard.localcluster.progress import progress_on
from support.chart import CHART, helm_run
from support.kueue import FLAVOR, GPU, GROUP, MARK, QUEUES, a_queue, crd, nominal_of
from support.overload import Overload, an_overload, until

pytestmark = pytest.mark.plane

QUEUE = f"{QUEUES}/research"
POOL = path_of(world.a_pool("research", {}))


@dataclass
class Scene:
    """A service that borrows of a pool whose nodes Kueue counts."""

    overload: Overload
    found: dict[str, Any]  # the ClusterQueue as it was before

    async def queue(self) -> dict[str, Any]:
        """The ClusterQueue now."""
        body = await self.overload.ground.admin.get(QUEUE)
        assert body is not None
        return body

    async def sold(self) -> object:
        """What Kueue sells of the pool."""
        return nominal_of(await self.queue())

    async def is_whole(self) -> bool:
        """Byte for byte as it was, and without our mark."""
        now = await self.queue()
        same = json.dumps(now["spec"]) == json.dumps(self.found["spec"])
        return same and MARK not in now["metadata"].get("annotations", {})

    async def follows(self) -> str:
        """Status and reason of the pool's condition."""
        body = await self.overload.ground.admin.get(POOL)
        told = ((body or {}).get("status") or {}).get("conditions", [])
        return next((f"{one['status']} {one['reason']}" for one in told if one["type"] == "QuotaFollows"), "")


@asynccontextmanager
async def a_scene(plane: Plane, directory: Path) -> AsyncIterator[Scene]:
    async with an_overload(plane, directory) as overload:
        admin = overload.ground.admin
        with contextlib.suppress(Conflict):  # an earlier test made it
            await admin.api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json.dumps(crd()).encode())
        await admin.kubectl("wait", "--for=condition=Established", "crd", f"clusterqueues.{GROUP}", "--timeout=60s")
        await admin.api.delete(QUEUE)
        await admin.api.post(QUEUES, json.dumps(a_queue("research", 24)).encode())
        only = ("--namespace", world.OPERATORS, "--show-only", "templates/rbac-operator.yaml")
        helm = binary("helm", progress_on(sys.__stderr__))
        granted = ("--set", "kueue.clusterQueues={research}")
        text = await asyncio.to_thread(helm_run, helm, "template", RELEASE, str(CHART), *only, *granted)
        (directory / "rights.yaml").write_text(text)
        await admin.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(directory / "rights.yaml"))
        kueue = {"clusterQueue": "research", "flavor": FLAVOR, "resource": GPU}
        await admin.merge(POOL, {"spec": {"kueue": kueue}})
        found = await admin.get(QUEUE)
        assert found is not None
        scene = Scene(overload, found)
        await until(lambda: _is(scene.follows, "True Following"), 30.0)
        yield scene


async def _is(look: Callable[[], Awaitable[object]], wanted: object) -> bool:
    return bool(await look() == wanted)


def killing(*numbers: int, moment: Moment) -> tuple[Rule, ...]:
    """The operator dies at these of its writes to the queue."""
    match = Match(method="PATCH", path="clusterqueues/research$")
    return tuple(Rule(match=match, act=Kill(moment), first=number) for number in numbers)


@pytest.mark.parametrize(
    "rules", [killing(1, 3, moment=Moment.BEFORE), killing(1, 2, moment=Moment.AFTER)], ids=["before", "after"]
)
async def test_the_way_back_is_exact_though_the_operator_dies_at_both_writes(
    lone_plane: Plane, tmp_path: Path, rules: tuple[Rule, ...]
) -> None:
    async with a_scene(lone_plane, tmp_path) as scene:
        overload = scene.overload
        overload.ground.proxy.arm(*rules)
        await overload.apply()
        await until(lambda: _is(scene.sold, 16), 90.0)
        await until(lambda: _is(scene.follows, "True Following"), 30.0)
        assert await scene.sold() == 16
        await overload.end()
        await until(scene.is_whole, 30.0)
        assert overload.ground.proxy.strikes == len(rules)
        await overload.ground.operator.up()
        await overload.ground.admin.delete(POOL)
        await until(lambda: _gone(scene), 40.0)


def _count(sold: list[object]) -> Callable[[], Awaitable[int]]:
    async def count() -> int:
        return len(sold)

    return count


async def _gone(scene: Scene) -> bool:
    return await scene.overload.ground.admin.get(POOL) is None


async def test_a_number_that_others_set_is_theirs_until_nothing_is_lent(lone_plane: Plane, tmp_path: Path) -> None:
    async with a_scene(lone_plane, tmp_path) as scene:
        overload = scene.overload
        sold: list[object] = []

        async def look(_: Hit) -> None:
            sold.append(await scene.sold())

        overload.ground.proxy.arm(Rule(match=Match(label="Relabelled"), act=Meddle(Moment.BEFORE, look)))
        await overload.apply()
        await until(lambda: _is(scene.sold, 16), 90.0)
        await until(lambda: _is(_count(sold), 1), 60.0)
        assert sold == [16]  # before the node changed hands
        await overload.ground.admin.merge(QUEUE, {"spec": a_queue("research", 32)["spec"]})
        await until(lambda: _is(scene.follows, "False OverwrittenByOthers"), 30.0)
        assert await scene.sold() == 32
        await overload.end()
        await until(lambda: _is(scene.follows, "True Following"), 30.0)
        now = await scene.queue()
        assert nominal_of(now) == 32
        assert MARK not in now["metadata"].get("annotations", {})


async def test_without_rights_or_without_the_queue_nodes_move_all_the_same(lone_plane: Plane, tmp_path: Path) -> None:
    async with a_scene(lone_plane, tmp_path) as scene:
        overload = scene.overload
        await overload.ground.admin.api.delete(QUEUE)
        await overload.apply()
        await until(overload.claims, 90.0)
        await until(lambda: _is(scene.follows, "False QuotaUnusable"), 30.0)
        other = {"clusterQueue": "theirs", "flavor": FLAVOR, "resource": GPU}
        await overload.ground.admin.merge(POOL, {"spec": {"kueue": other}})
        await until(lambda: _is(scene.follows, "False QuotaUnknown"), 30.0)
        await overload.end()


async def test_return_without_the_operator_puts_the_quota_back(lone_plane: Plane, tmp_path: Path) -> None:
    async with a_scene(lone_plane, tmp_path) as scene:
        overload, ground = scene.overload, scene.overload.ground
        await overload.apply()
        await until(lambda: _is(scene.sold, 16), 90.0)
        ground.operator.hold()
        await ground.operator.kill()
        ground.agents.ask(CALM)
        command = ("-P", "-c", "from meltguard.cli.main import app; app()", "return", "--all", "--timeout=60")
        kubeconfig = ("--kubeconfig", str(lone_plane.kubeconfig))
        ran = await asyncio.create_subprocess_exec(
            sys.executable, *command, *kubeconfig, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await ran.communicate()
        assert ran.returncode == 0, said.decode()
        assert "h100/nvidia.com/gpu of ClusterQueue research is 24, 0 on loan are out of it" in said.decode()
        assert await scene.is_whole()
