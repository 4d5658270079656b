"""The mirror on the real API server: its bookmarks, its 410, its restart."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from time import monotonic

import pytest

from meltguard.adapters.fleet_shape import read_node
from meltguard.adapters.kubernetes_client import KubernetesApi, WatchEnd
from meltguard.adapters.kubernetes_errors import Expired
from meltguard.adapters.kubernetes_list import read_event
from meltguard.adapters.reflector import Changes, Reflector, Resource, Timing
from meltguard.clock import SystemClock
from meltguard.core.fleet import NodeView
from meltguard.core.units import Seconds
from meltguard.localcluster.plane import Plane
from support.eventually import eventually, soon

pytestmark = pytest.mark.plane

NODES = "/api/v1/nodes"


@pytest.fixture
async def api(plane: Plane) -> AsyncIterator[KubernetesApi]:
    async with await KubernetesApi.connect(str(plane.kubeconfig)) as opened:
        yield opened


@asynccontextmanager
async def mirroring(api: KubernetesApi, timing: Timing) -> AsyncIterator[Reflector[NodeView]]:
    nodes = Resource(path=NODES, decode=read_node, key=lambda node: node.uid)
    reflector = Reflector(api, nodes, Changes(), SystemClock(), timing)
    task = asyncio.create_task(reflector.run())
    async with soon():
        await reflector.synced()
    yield reflector
    assert not task.done()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def shows(reflector: Reflector[NodeView], name: str) -> bool:
    return name in {node.name for node in reflector.snapshot().values()}


async def test_the_server_ends_a_watch_when_it_was_asked_to(api: KubernetesApi) -> None:
    async with mirroring(api, Timing(relist_every=Seconds(2.0))) as reflector:
        await eventually(lambda: reflector.health.lists >= 3, within=20.0)
        before, moment = reflector.health.lists, monotonic()
        await eventually(lambda: reflector.health.lists > before, within=20.0)
        assert reflector.health.errors == 0
        assert reflector.age <= monotonic() - moment, "a list is a sign of life"


async def follow(api: KubernetesApi, version: str) -> None:
    """Read a watch from a version until it ends."""
    end = WatchEnd(after=Seconds(60.0), silence=Seconds(60.0))
    query = {"resourceVersion": version, "allowWatchBookmarks": "true"}
    async with aclosing(api.watch(NODES, query, end)) as watch:
        async for lines in watch:
            for line in lines:
                read_event(NODES, line)


async def test_a_restart_of_the_server_is_survived_without_ghosts(plane: Plane, api: KubernetesApi) -> None:
    stays, goes = (f"mirror-{uuid.uuid4().hex[:8]}" for _ in range(2))
    for name in (stays, goes):
        await api.post(NODES, json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}).encode())
    async with mirroring(api, Timing()) as reflector:
        await eventually(lambda: shows(reflector, stays) and shows(reflector, goes))
        await asyncio.to_thread(plane.restart, "kube-apiserver")
        await api.delete(f"{NODES}/{goes}")
        await eventually(lambda: shows(reflector, stays) and not shows(reflector, goes), within=10.0)
        assert reflector.health.problem == ""
    await api.delete(f"{NODES}/{stays}")
    with pytest.raises(Expired):  # what was before the restart is in no watch cache
        await follow(api, "1")
