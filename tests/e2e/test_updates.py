"""Updates in the middle of a surge: a dearer image is taken back, an equal one waits, a cheaper one goes on."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from faults import world
from faults.ground import PODS
from faults.rest import path_of
from meltguard.api.rollout_mark import ROLLOUT_HELD
from meltguard.localcluster.plane import Plane
from support.overload import Overload, an_overload, until

pytestmark = pytest.mark.plane

Json = dict[str, Any]
OLD, DEAR, EVEN, CHEAP = "image-gen", "image-gen:dear", "image-gen:even", "image-gen:cheap"
SPEEDS = {DEAR: 1 / 1.2, EVEN: 1.0, CHEAP: 1 / 0.8}


class _Scene:
    """A service in a surge, and whoever updates it."""

    def __init__(self, overload: Overload) -> None:
        self.overload, self.admin = overload, overload.ground.admin
        overload.ground.agents.speeds = SPEEDS

    async def deployment(self) -> Json:
        found = await self.admin.get(path_of(world.deployment()))
        assert found is not None
        return found

    async def update(self, image: str) -> None:
        """As a person or a pipeline does it: the template, and nothing else."""
        body = json.dumps({"spec": {"template": {"spec": {"containers": [{"name": "server", "image": image}]}}}})
        names = ("deployment", world.SERVICE, f"--namespace={world.SERVING}")
        await self.admin.kubectl("patch", *names, "--type=strategic", f"--patch={body}")

    async def images(self) -> Counter[str]:
        """What the service's pods run."""
        pods = await self.admin.items(PODS)
        alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
        return Counter(pod["spec"]["containers"][0]["image"] for pod in alive)

    async def mark(self) -> Json:
        annotations = (await self.deployment())["metadata"].get("annotations", {})
        read: Json = json.loads(annotations.get(ROLLOUT_HELD, "{}"))
        return read

    async def stage(self) -> str:
        return str(((await self.mark()).get("trial") or {}).get("stage", ""))

    async def capacity(self) -> float:
        text = (await self.overload.status()).get("decision", {}).get("capacity", "0/m")
        return float(text.removesuffix("/m"))

    async def told(self) -> str:
        found = await self.admin.items(f"/apis/events.k8s.io/v1/namespaces/{world.SERVING}/events")
        return "\n".join(one["note"] for one in found if one["reason"] == "UpdateTried")

    async def is_held(self) -> bool:
        """On three pods, one of them on a borrowed node."""
        held, run = await self.mark(), await self.images()
        return bool(held) and run == {OLD: 3} and len(self.overload.ground.agents) == 3

    async def is_taken_back(self) -> bool:
        return await self.stage() == "Refused" and await self.images() == {OLD: 3}

    async def makes_no_difference(self) -> bool:
        run = await self.images()
        return await self.stage() == "Equal" and run[EVEN] >= 1 and run[OLD] >= 1

    async def went_on(self) -> bool:
        run = await self.images()
        return await self.stage() == "Promoted" and run == {CHEAP: 3} and len(self.overload.ground.agents) == 3

    async def is_as_found(self) -> bool:
        return not await self.mark() and (await self.deployment())["spec"]["replicas"] == world.SERVERS


async def test_what_an_update_costs_decides_whether_it_waits(lone_plane: Plane, tmp_path: Path) -> None:
    async with an_overload(lone_plane, tmp_path) as overload:
        scene = _Scene(overload)
        found = (await scene.deployment())["spec"]
        await overload.apply(rollouts={"holdAt": "Elevated"})
        await until(scene.is_held, 90.0)
        await scene.update(DEAR)
        await until(scene.is_taken_back, 120.0)
        assert "taken back" in (await overload.status())["rollouts"]["cause"]
        await scene.update(EVEN)
        await until(scene.makes_no_difference, 120.0)
        before = await scene.capacity()
        await scene.update(CHEAP)
        await until(scene.went_on, 120.0)

        async def images_are_cheaper() -> bool:
            return await scene.capacity() > 1.1 * before

        await until(images_are_cheaper, 60.0)
        overload.ebb()
        await until(scene.is_as_found, 90.0)
        left = (await scene.deployment())["spec"]
        assert (left["strategy"], "paused" in left) == (found["strategy"], False)
        told = await scene.told()
        assert "taken back until then: +20%" in told
        assert "goes on: -20%" in told
        await overload.end()
