"""With Argo Rollouts the operator pauses and resumes theirs, and leaves their steps to them."""

import json
from pathlib import Path

import pytest

from faults import world
from faults.rest import path_of
from meltguard.api.rollout_mark import ROLLOUT_HELD
from meltguard.localcluster.plane import Plane
from support.argo import API, CRD, as_rollout, rollouts_crd
from support.overload import Json, Overload, an_overload, until

pytestmark = pytest.mark.plane

ROLLOUT = as_rollout(world.deployment())
NEWER = "image-gen:v2"


async def _rollout(overload: Overload) -> Json:
    found = await overload.ground.admin.get(path_of(ROLLOUT))
    assert found is not None
    return found


def _written(found: Json) -> str:
    """What people wrote of it, byte for byte."""
    metadata = {key: found["metadata"].get(key) for key in ("labels", "annotations", "finalizers")}
    return json.dumps({"spec": found["spec"], "metadata": metadata}, sort_keys=True)


async def _install(overload: Overload) -> Json:
    """Argo's resource, a Rollout that is complete, and a policy that names it; the Rollout as it is found."""
    admin = overload.ground.admin
    await admin.apply(rollouts_crd())
    await admin.kubectl("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=30s")
    await admin.apply(ROLLOUT)
    status = {"observedGeneration": "1", "replicas": world.SERVERS, "updatedReplicas": world.SERVERS}
    names = (CRD, world.SERVICE, f"--namespace={world.SERVING}", "--subresource=status")
    await admin.kubectl("patch", *names, "--type=merge", f"--patch={json.dumps({'status': status})}")
    found = await _rollout(overload)
    service: Json = world.a_policy(world.IDLE)["spec"]["service"]
    workload = {"apiVersion": API, "kind": "Rollout", "name": world.SERVICE}
    await overload.apply(service={**service, "workloadRef": workload}, rollouts={"holdAt": "Elevated"})
    return found


async def _is_held(overload: Overload) -> bool:
    now = await _rollout(overload)
    return bool(now["spec"].get("paused")) and ROLLOUT_HELD in now["metadata"].get("annotations", {})


async def _is_let_go(overload: Overload) -> bool:
    now = await _rollout(overload)
    metadata, spec = now["metadata"], now["spec"]
    ours = ROLLOUT_HELD in {**metadata.get("annotations", {}), **metadata.get("labels", {})}
    return not ours and spec["replicas"] == world.SERVERS


async def test_a_rollout_of_theirs_is_held_for_the_surge_and_resumed_as_found(
    lone_plane: Plane, tmp_path: Path
) -> None:
    async with an_overload(lone_plane, tmp_path) as overload:
        admin = overload.ground.admin
        found = await _install(overload)
        await until(lambda: _is_held(overload), 60.0)
        await until(lambda: overload.rollouts_are("Held"), 30.0)

        async def follows_its_loan() -> bool:
            return bool((await _rollout(overload))["spec"]["replicas"] == world.SERVERS + 1)

        await until(follows_its_loan, 60.0)  # through /scale: a node was borrowed
        container = {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": NEWER}
        await admin.patch(path_of(ROLLOUT), [container])
        await overload.decided_again(3)
        assert await _is_held(overload), "an update of theirs waits, and is not tried by us"
        assert "trial" not in (await overload.status())["rollouts"]
        overload.ebb()
        await until(lambda: _is_let_go(overload), 90.0)
        found["spec"]["template"]["spec"]["containers"][0]["image"] = NEWER
        assert _written(await _rollout(overload)) == _written(found)
        await overload.end()
        await admin.delete(path_of(ROLLOUT))
