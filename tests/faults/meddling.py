"""What other people and machines do to a cluster in the middle of a move."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from faults import world
from faults.evidence import node_of
from faults.rules import Hit, Rule
from faults.scenario import NODES, Stage
from faults.setting import settled, until
from meltguard.adapters.kubernetes_client import PatchKind
from meltguard.errors import MeltguardError

Act = Callable[[Hit], Awaitable[object]]
CLAIM: Final = "meltguard.io/loan"
BINDING: Final = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/meltguard"
CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
BACKGROUND: Final[set[asyncio.Task[object]]] = set()
"""Tasks that a meddler left running: held, so that they are not collected before they end."""


def behind(work: Awaitable[object]) -> None:
    """Go on with this while the request is answered."""
    task = asyncio.ensure_future(work)
    BACKGROUND.add(task)
    task.add_done_callback(BACKGROUND.discard)


def fault_for(stage: Stage, seconds: float, *rules: Rule) -> Act:
    """From this request on, these rules for so long."""

    async def act(_: Hit) -> None:
        behind(stage.ground.proxy.during(seconds, *rules))

    return act


def kill_api_server(stage: Stage, away: float) -> Act:
    """SIGKILL it; it is back so many seconds later."""

    async def act(_: Hit) -> None:
        plane = stage.ground.plane
        os.kill(plane.processes["kube-apiserver"], signal.SIGKILL)

        async def back() -> None:
            await asyncio.sleep(away)
            await asyncio.to_thread(plane.restart, "kube-apiserver")

        behind(back())

    return act


def merged(stage: Stage, patch: dict[str, Any]) -> Act:
    """Merge this into the node that is written to."""

    async def act(hit: Hit) -> None:
        await stage.ground.admin.merge(hit.path, patch)

    return act


def uncordoned(stage: Stage) -> Act:
    """`kubectl uncordon`, again as soon as the cordon shows."""
    return merged(stage, {"spec": {"unschedulable": None}})


def deleted(stage: Stage, *, anew: bool) -> Act:
    """Delete the node that is written to; make another of the same name at once."""

    async def act(hit: Hit) -> None:
        name = hit.path.rpartition("/")[2]
        await stage.ground.admin.delete(hit.path)
        await gone(stage, hit.path)
        if anew:
            await stage.ground.admin.apply(world.a_node(name, "research"))

    return act


def pod_lands(stage: Stage) -> Act:
    """A pod that passes by scheduler and cordon is bound to the node right before its labels change."""

    async def act(hit: Hit) -> None:
        node = hit.path.rpartition("/")[2]
        await stage.ground.admin.create(world.a_pod(f"late-{stage.run}", node))

    return act


def without_rights(stage: Stage, seconds: float) -> Act:
    """The operator's ClusterRoleBinding is taken away and given back."""

    async def act(_: Hit) -> None:
        admin = stage.ground.admin
        binding = await admin.get(BINDING)
        await admin.delete(BINDING)

        async def back() -> None:
            await asyncio.sleep(seconds)
            kept = {key: value for key, value in (binding or {}).items() if key != "metadata"}
            name = {"metadata": {"name": "meltguard"}}
            await admin.api.post(BINDING.rpartition("/")[0], json.dumps({**kept, **name}).encode())

        behind(back())

    return act


def policy_changed(stage: Stage, patch: dict[str, Any]) -> Act:
    """Edit the policy."""

    async def act(_: Hit) -> None:
        await stage.ground.admin.merge(stage.policy, patch)

    return act


def policy_deleted(stage: Stage, *, forced: bool = False) -> Act:
    """Delete the policy; forced: with its finalizers taken off."""

    async def act(_: Hit) -> None:
        await stage.ground.admin.delete(stage.policy)
        if forced:
            with contextlib.suppress(MeltguardError):
                await stage.ground.admin.merge(stage.policy, {"metadata": {"finalizers": None}})

    return act


def hot_writer(stage: Stage, seconds: float) -> Act:
    """Somebody rewrites the claimed node fifty times a second."""

    async def act(hit: Hit) -> None:
        async def write() -> None:
            ends, count = time.monotonic() + seconds, 0
            while time.monotonic() < ends:
                count += 1
                await stage.ground.admin.merge(hit.path, {"metadata": {"annotations": {"hot": str(count)}}})
                await asyncio.sleep(0.02)
            await stage.ground.admin.merge(hit.path, {"metadata": {"annotations": {"hot": None}}})

        behind(write())

    return act


def terminated(stage: Stage) -> Act:
    """SIGTERM to the operator that writes."""

    async def act(hit: Hit) -> None:
        behind(stage.ground.operators[hit.client].terminate())

    return act


def frozen(stage: Stage, longest: float = 40.0) -> Act:
    """The writer stands still with this request on its way; it is forwarded when another term has begun."""

    async def act(hit: Hit) -> None:
        operator = stage.ground.operators[hit.client]
        operator.signal(signal.SIGSTOP)
        term = await _term(stage)

        async def replaced() -> bool:
            return await _term(stage) != term

        await until(replaced, longest)
        await asyncio.sleep(1.0)

        async def thaw() -> None:
            await asyncio.sleep(1.0)
            operator.signal(signal.SIGCONT)

        behind(thaw())

    return act


async def _term(stage: Stage) -> int:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{world.OPERATORS}/leases/meltguard"
    lease = await stage.ground.admin.get(path)
    return int(lease["spec"].get("leaseTransitions") or 0) if lease else 0


async def set_ready(stage: Stage, name: str, *, ready: bool) -> None:
    """Break a node, or mend it and wait until Kubernetes has taken its taints off."""
    admin = stage.ground.admin
    down = None if ready else "true"
    await admin.merge(f"{NODES}/{name}", {"metadata": {"annotations": {"local.meltguard.io/down": down}}})
    if not ready:
        condition = {"type": "Ready", "status": "False", "reason": "Broken", "lastHeartbeatTime": None}
        body = json.dumps({"status": {"conditions": [condition]}}).encode()
        await admin.api.patch(f"{NODES}/{name}/status", body, PatchKind.STRATEGIC)
        return

    async def mended() -> bool:
        body = await admin.get(f"{NODES}/{name}")
        return body is None or (node_of(body).ready and settled(node_of(body)))

    await until(mended, 20.0)


async def gone(stage: Stage, path: str) -> None:
    """Wait, for ten seconds at most, until an object is away."""

    async def away() -> bool:
        return await stage.ground.admin.get(path) is None

    await until(away, 10.0)


async def claimed_nodes(stage: Stage) -> list[str]:
    """Names of the nodes that bear a claim."""
    bodies = await stage.ground.admin.items(NODES)
    marked = [b["metadata"]["name"] for b in bodies if CLAIM in (b["metadata"].get("annotations") or {})]
    return sorted(marked)


async def await_home(stage: Stage, within: float) -> bool:
    """Whether no node bears a claim, in time."""

    async def home() -> bool:
        return not await claimed_nodes(stage)

    return await until(home, within)
