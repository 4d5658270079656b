"""The ladder on the real control plane: features and updates give way first, and come back exactly as they were."""

import json
from pathlib import Path
from typing import Any

import pytest

from faults import world
from faults.rest import path_of
from faults.scenario import OVERLOAD
from meltguard.api.rollout_mark import ROLLOUT_HELD
from meltguard.localcluster.plane import Plane
from support.overload import Overload, an_overload, until

pytestmark = pytest.mark.plane

Json = dict[str, Any]
LADDER = {
    "features": [{"name": "edit", "rollout": {"Normal": "100%", "Elevated": "50%", "Overloaded": "10%"}}],
    "rollouts": {"holdAt": "Elevated"},
}


async def deployment(overload: Overload) -> Json:
    found = await overload.ground.admin.get(path_of(world.deployment()))
    assert found is not None
    return found


def marked(found: Json) -> bool:
    return ROLLOUT_HELD in found["metadata"].get("annotations", {})


async def held(overload: Overload) -> bool:
    found = await deployment(overload)
    return marked(found) and bool(found["spec"].get("paused"))


def owned(found: Json) -> Json:
    """What people wrote; replicas are the loans' matter."""
    spec = {key: value for key, value in found["spec"].items() if key != "replicas"}
    return {"spec": spec, "labels": found["metadata"].get("labels", {})}


async def test_features_and_updates_give_way_first_and_come_back_as_they_were(
    lone_plane: Plane, tmp_path: Path
) -> None:
    async with an_overload(lone_plane, tmp_path) as overload:
        before = owned(await deployment(overload))
        await overload.apply(**LADDER)
        await until(lambda: held(overload), 60.0)
        await until(lambda: overload.rollouts_are("Held"), 30.0)
        await until(overload.limited, 60.0)
        status = await overload.status()
        assert "rollouts.holdAt Elevated" in status["rollouts"]["cause"]
        assert status["rollouts"]["liftsWhen"] == "the level falls to Normal: pressure below 0.70 for 1 s"
        (feature,) = status["features"]
        assert feature["rollout"] in {"50%", "10%", "0%"}
        assert feature["since"]
        assert "updates held" in status["why"]
        await until(lambda: overload.has_told("FeatureSlowed", "RolloutHeld", "TierLimited"), 30.0)
        reasons = await overload.told()
        assert reasons.index("FeatureSlowed") < reasons.index("TierLimited")
        assert reasons.index("RolloutHeld") < reasons.index("TierLimited")

        async def resumed() -> bool:
            found = await deployment(overload)
            return not marked(found) and await overload.rollouts_are("Free")

        overload.ebb()
        await until(resumed, 90.0)
        assert owned(await deployment(overload)) == before
        await until(lambda: overload.has_told("FeatureRestored", "RolloutResumed", "LevelChanged"), 30.0)
        history = [entry["reason"] for entry in (await overload.status())["history"]]
        assert {"FeatureSlowed", "RolloutHeld", "TierLimited", "RolloutResumed"} <= set(history)
        assert history.index("RolloutResumed") < history.index("RolloutHeld"), "the newest first"
        await overload.end()


async def test_a_person_who_resumes_is_obeyed_and_nothing_stays_held_without_its_policy(
    lone_plane: Plane, tmp_path: Path
) -> None:
    async with an_overload(lone_plane, tmp_path) as overload:
        admin, path = overload.ground.admin, path_of(world.deployment())
        await overload.apply(**LADDER)
        await until(lambda: held(overload), 60.0)
        await admin.merge(path, {"spec": {"paused": None}})
        await until(lambda: overload.rollouts_are("LeftAlone"), 30.0)
        await overload.decided_again(2)
        assert not (await deployment(overload))["spec"].get("paused")
        await until(lambda: overload.has_told("RolloutLeftAlone"), 30.0)

        async def unmarked() -> bool:
            return not marked(await deployment(overload))

        overload.ebb()
        await until(unmarked, 90.0)
        overload.ground.agents.ask(OVERLOAD)
        overload.ground.agents.waiting = 1.2
        await until(lambda: held(overload), 60.0)
        await overload.end()
        assert not (await deployment(overload))["spec"].get("paused"), "a deleted policy holds nothing"

        mark = {"policy": "serving/gone", "uid": "nobody", "since": "2026-11-23T10:00:00Z"}
        stray = {"annotations": {ROLLOUT_HELD: json.dumps(mark)}, "labels": {ROLLOUT_HELD: "true"}}
        await admin.merge(path, {"metadata": stray, "spec": {"paused": True}})
        await until(unmarked, 90.0)
        assert not (await deployment(overload))["spec"].get("paused"), "a mark of nobody's is swept up"
