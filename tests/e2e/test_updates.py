"""Updates in the middle of a surge: a dearer image is taken back, an equal one waits, a cheaper one goes on."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from faults import world
from faults.ground import PODS
from faults.rest import path_of
from faults.scenario import CALM
from meltguard.api.rollout_mark import ROLLOUT_HELD
from meltguard.localcluster.plane import Plane
from support.overload import Overload, an_overload, until

pytestmark = pytest.mark.plane

Json = dict[str, Any]
OLD, DEAR, EVEN, CHEAP = "image-gen", "image-gen:dear", "image-gen:even", "image-gen:cheap"
SPEEDS = {DEAR: 1 / 1.2, EVEN: 1.0, CHEAP: 1 / 0.8}


async def deployment(overload: Overload) -> Json:
    found = await overload.ground.admin.get(path_of(world.deployment()))
    assert found is not None
    return found


async def update(overload: Overload, image: str) -> None:
    """As a person or a pipeline does it: the template, and nothing else."""
    change = {"spec": {"template": {"spec": {"containers": [{"name": "server", "image": image}]}}}}
    body = json.dumps(change)
    await overload.ground.admin.kubectl(
        "patch", "deployment", world.SERVICE, f"--namespace={world.SERVING}", "--type=strategic", f"--patch={body}"
    )


async def images(overload: Overload) -> Counter[str]:
    """What the service's pods run."""
    pods = await overload.ground.admin.items(PODS)
    alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    return Counter(pod["spec"]["containers"][0]["image"] for pod in alive)


async def stage(overload: Overload) -> str:
    mark = (await deployment(overload))["metadata"].get("annotations", {}).get(ROLLOUT_HELD, "{}")
    return str((json.loads(mark).get("trial") or {}).get("stage", ""))


async def events(overload: Overload) -> list[str]:
    found = await overload.ground.admin.items(f"/apis/events.k8s.io/v1/namespaces/{world.SERVING}/events")
    return [one["note"] for one in found if one["reason"] == "UpdateTried"]


async def test_what_an_update_costs_decides_whether_it_waits(lone_plane: Plane, tmp_path: Path) -> None:
    async with an_overload(lone_plane, tmp_path) as overload:
        overload.ground.agents.speeds = SPEEDS
        found = (await deployment(overload))["spec"]
        await overload.apply(rollouts={"holdAt": "Elevated"})

        async def three_serve() -> bool:
            held = ROLLOUT_HELD in (await deployment(overload))["metadata"].get("annotations", {})
            return held and await images(overload) == {OLD: 3} and len(overload.ground.agents) == 3

        async def taken_back() -> bool:
            return await stage(overload) == "Refused" and await images(overload) == {OLD: 3}

        async def makes_no_difference() -> bool:
            run = await images(overload)
            return await stage(overload) == "Equal" and run[EVEN] >= 1 and run[OLD] >= 1

        async def went_on() -> bool:
            return await images(overload) == {CHEAP: 3} and len(overload.ground.agents) == 3

        async def earns() -> bool:
            return await capacity() > 1.1 * before

        async def capacity() -> float:
            text = (await overload.status()).get("decision", {}).get("capacity", "0/m")
            return float(text.removesuffix("/m"))

        await until(three_serve, 90.0)
        await update(overload, DEAR)
        await until(taken_back, 120.0)
        trial = (await overload.status())["rollouts"]
        assert "taken back" in trial["cause"]
        await update(overload, EVEN)
        await until(makes_no_difference, 120.0)
        before = await capacity()
        await update(overload, CHEAP)
        await until(went_on, 120.0)
        assert (await overload.status())["rollouts"]["trial"]["stage"] == "Promoted"
        await until(earns, 60.0)
        overload.ground.agents.ask(CALM)
        overload.ground.agents.waiting = 0.0

        async def as_found() -> bool:
            left = await deployment(overload)
            return ROLLOUT_HELD not in left["metadata"].get("annotations", {}) and left["spec"]["replicas"] == 2

        await until(as_found, 90.0)
        left = (await deployment(overload))["spec"]
        assert left["strategy"] == found["strategy"]
        assert "paused" not in left
        told = "\n".join(await events(overload))
        assert "+2" in told or "+1" in told, told  # the dear one's figures
        assert "goes on: -2" in told or "goes on: -1" in told, told
        await overload.end()
