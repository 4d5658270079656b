"""Reads one fleet in two ways, each in a process of its own: our mirror, and the official typed models.

Run as `python tests/bench/scale_rivals.py ours|typed`, with KUBECONFIG set: prints one line of JSON.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kubernetes import client, config

from bench.scale_operator import memory_of
from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_fleet import KubernetesFleet
from meltguard.clock import SystemClock
from meltguard.localcluster.plane import Plane

PATIENCE: Final = 120.0
"""Seconds that a reader may take."""

ROUNDS: Final = 3
"""Of each, in turn; the median counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One way to read all nodes and pods."""

    way: str
    seconds: float | None  # from the first request until everything is there; None: not within PATIENCE
    cpu: float  # seconds of this process for it
    grew: float  # MiB at most, beyond what the process had before
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


WAYS: Final[dict[str, Callable[[], int]]] = {"ours": ours, "typed": typed}


def read(way: str) -> Listed:
    """Read the fleet in this process, which does nothing else."""
    before, cpu, began = _peak(), time.process_time(), time.monotonic()
    objects = WAYS[way]()
    took, peak = time.monotonic() - began, _peak()
    spent = time.process_time() - cpu
    return Listed(way=way, seconds=took, cpu=spent, grew=peak - before, objects=objects)


def _peak() -> float:
    """What getrusage says would be the parent's: it outlives exec."""
    return memory_of(os.getpid())[1]


async def rivals(plane: Plane, folder: Path) -> tuple[Listed, ...]:
    """Every way, in turn; nothing else reads meanwhile."""
    rounds = [way for _ in range(ROUNDS) for way in ("ours", "typed")]
    found = [await _in_a_process(way, plane, folder) for way in rounds]
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
            return Listed(way=way, seconds=None, cpu=0.0, grew=0.0, objects=0)
    return Listed(**json.loads(said.splitlines()[-1]))


if __name__ == "__main__":
    found = read(sys.argv[1])
    print(json.dumps({name: getattr(found, name) for name in Listed.__dataclass_fields__}), flush=True)  # noqa: T201
    os._exit(0)  # what is still open is nobody's loss
