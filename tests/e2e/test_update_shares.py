"""A cheaper image goes on share by share, also over an operator's death; what is dearer at a share is taken back."""

from pathlib import Path

import pytest

from faults import world
from faults.rest import path_of
from meltguard.localcluster.plane import Plane
from support.overload import Overload, an_overload, until
from support.updating import OLD, STRAYS, Json, Scene

pytestmark = pytest.mark.plane

CROWDED, CHEAP = "image-gen:crowded", "image-gen:cheap"
TAKEN_BACK, ON_TWO = "taken back until then", "is to run on 2 of 4 pods; what it costs is compared again"
PODS = 4
"""One, two and all are their shares."""

DEMAND = 36.0
"""Image units a second, of pods that do eight each."""


async def _enlarge(overload: Overload) -> None:
    """Twice the service, on nodes of its own: nothing is lent here."""
    admin = overload.ground.admin
    for number in range(world.SERVERS + 1, PODS + 1):
        await admin.apply(world.a_node(f"inference-{number}", "inference"))
    await admin.merge(path_of(world.deployment()), {"spec": {"replicas": PODS}})


def _in_order(told: str, *said: str) -> bool:
    places = [told.find(one) for one in said]
    return -1 not in places and places == sorted(places)


async def _turns_out_dearer(scene: Scene) -> None:
    """One of it is cheap; two are in one another's way."""
    await scene.update(CROWDED)
    await until(lambda: scene.is_at("Judging", 2), 180.0)
    assert (await scene.deployment())["spec"]["paused"], "a share is held"
    assert (await scene.images())[CROWDED] == 2
    scene.overload.ground.agents.turn(CROWDED, 1 / 1.4)
    await until(lambda: scene.has_settled("Refused", {OLD: PODS}), 240.0)
    assert scene.most[CROWDED] == 2, "more than the share was risked"
    figures = await scene.figures()
    assert float(figures["costHere"]["least"].removesuffix("%")) >= 5.0
    assert figures["cost"]["samples"] > figures["costHere"]["samples"]


async def _goes_on_over_a_death(scene: Scene) -> None:
    await scene.update(CHEAP)
    await until(lambda: scene.is_at("Judging", 2), 180.0)
    before = (await scene.trial())["found"]["whole"]["count"]
    await until(
        lambda: scene.has_told(ON_TWO, after=TAKEN_BACK), 30.0
    )  # what a killed operator did not say is not said
    await scene.overload.ground.operator.kill()
    await until(lambda: scene.has_settled("Promoted", {CHEAP: PODS}), 240.0)
    assert (await scene.figures())["cost"]["samples"] > before >= 12, "what was counted before the crash counts on"


async def test_more_pods_run_it_only_while_it_stays_cheaper(lone_plane: Plane, tmp_path: Path) -> None:
    async with an_overload(lone_plane, tmp_path) as overload:
        scene, agents = Scene(overload), overload.ground.agents
        agents.strays = STRAYS
        agents.speeds = {CROWDED: 1 / 0.8, CHEAP: 1 / 0.8}
        await _enlarge(overload)
        found: Json = (await scene.deployment())["spec"]
        await overload.apply(
            rollouts={"holdAt": "Elevated"}, capacity={"pool": "inference", "imagesPerGPUMinute": "60"}
        )
        await until(lambda: scene.is_held(PODS), 90.0)
        agents.ask(DEMAND)
        await _turns_out_dearer(scene)
        await _goes_on_over_a_death(scene)
        told = await scene.told()
        assert _in_order(told, "goes on to 2 pods of 4", TAKEN_BACK)
        assert _in_order(
            told[told.index(TAKEN_BACK) :],
            "it is tried on one pod",
            "goes on to 2 pods of 4",
            ON_TWO,
            "goes on to all pods",
        )
        await scene.calm_down(found)
        await overload.end()
