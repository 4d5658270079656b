"""Reads one fleet in three ways, each in a process of its own: our mirror, the official typed models, a Kopf index.

Run as `python tests/bench/scale_rivals.py ours|typed|kopf`, with KUBECONFIG set: prints one line of JSON.
"""

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import kopf
from kubernetes import client, config

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_fleet import KubernetesFleet
from meltguard.clock import SystemClock
from meltguard.localcluster.plane import Plane

PATIENCE: Final = 120.0
"""Seconds that a reader may take."""

ROUNDS: Final = 3
"""Of each but Kopf, in turn; the median counts."""

MIB: Final = 1024.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One way to read all nodes and pods."""

    way: str
    seconds: float | None  # from the first request until everything is there; None: not within PATIENCE
    cpu: float  # seconds of this process for it
    memory: float  # MiB at most, of the whole process
    grew: float  # MiB of that beyond what the process had before
    objects: int


def ours() -> int:
    """As the operator reads: nodes, pods, budgets and Jobs."""
    return asyncio.run(_mirrored())


async def _mirrored() -> int:
    async with await KubernetesApi.connect() as api:
        fleet = KubernetesFleet(api, SystemClock())
        mirror = asyncio.create_task(fleet.run())
        await fleet.synced()
        view = fleet.view()
        mirror.cancel()
        return len(view.nodes) + sum(len(node.pods) for node in view.nodes) + len(view.pending)


def typed() -> int:
    """With the official client: nodes and pods."""
    config.load_kube_config(os.environ["KUBECONFIG"])  # type: ignore[no-untyped-call] # theirs
    core = client.CoreV1Api()
    return len(core.list_node().items) + len(core.list_pod_for_all_namespaces().items)


def with_kopf() -> int:
    """A Kopf index over nodes alone: until a handler of any kind may run."""
    seen: dict[str, int] = {}
    ready = asyncio.Event()
    registry = kopf.OperatorRegistry()

    kopf.on.login(registry=registry)(kopf.login_with_kubeconfig)

    @kopf.index("nodes", registry=registry)
    def by_name(name: str | None, **_: Any) -> dict[str | None, int]:
        return {name: 1}

    @kopf.on.event("nodes", registry=registry)  # type: ignore[arg-type] # what is indexed is no part of its type
    def come(by_name: kopf.Index[str, int], **_: Any) -> None:
        seen["nodes"] = len(by_name)
        ready.set()

    asyncio.new_event_loop().run_until_complete(_run_kopf(registry, ready))
    return seen.get("nodes", 0)


async def _run_kopf(registry: kopf.OperatorRegistry, ready: asyncio.Event) -> None:
    """Until a handler ran; the process does not outlive that, so nothing is tidied up."""
    running = asyncio.create_task(kopf.operator(registry=registry, standalone=True, clusterwide=True))
    come = asyncio.create_task(ready.wait())
    await asyncio.wait([running, come], return_when=asyncio.FIRST_COMPLETED)


WAYS: Final[dict[str, Callable[[], int]]] = {"ours": ours, "typed": typed, "kopf": with_kopf}


def read(way: str) -> Listed:
    """Read the fleet in this process, which does nothing else."""
    before, cpu, began = _peak(), time.process_time(), time.monotonic()
    objects = WAYS[way]()
    took, peak = time.monotonic() - began, _peak()
    spent = time.process_time() - cpu
    return Listed(way=way, seconds=took, cpu=spent, memory=peak, grew=peak - before, objects=objects)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


async def rivals(plane: Plane, folder: Path) -> tuple[Listed, ...]:
    """Every way, in turn; nothing else reads meanwhile."""
    rounds = [way for _ in range(ROUNDS) for way in ("ours", "typed")]
    found = [await _in_a_process(way, plane, folder) for way in (*rounds, "kopf")]
    return tuple(_median([one for one in found if one.way == way]) for way in WAYS)


def _median(found: list[Listed]) -> Listed:
    return sorted(found, key=lambda one: one.seconds or PATIENCE)[len(found) // 2]


async def _in_a_process(way: str, plane: Plane, folder: Path) -> Listed:
    environment = {**os.environ, "KUBECONFIG": str(plane.kubeconfig)}
    with (folder / f"{way}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(Path(__file__)), way), stdout=asyncio.subprocess.PIPE, stderr=log, env=environment
        )
        try:
            async with asyncio.timeout(PATIENCE):
                said, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return Listed(way=way, seconds=None, cpu=0.0, memory=0.0, grew=0.0, objects=0)
    return Listed(**json.loads(said.splitlines()[-1]))


if __name__ == "__main__":
    found = read(sys.argv[1])
    print(json.dumps({name: getattr(found, name) for name in Listed.__dataclass_fields__}), flush=True)  # noqa: T201
    os._exit(0)  # Kopf's threads are in no hurry
