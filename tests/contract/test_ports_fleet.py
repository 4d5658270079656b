"""What every Fleet does: the fake, and the API server's (a small one on a socket, and the real one)."""

import asyncio
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pytest
from aiohttp import web

from meltguard.adapters.fleet_shape import read_node
from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind
from meltguard.adapters.kubernetes_fleet import KubernetesFleet
from meltguard.adapters.pod_shape import read_pod
from meltguard.clock import SystemClock
from meltguard.core.fleet import CLAIM_ANNOTATION, NodeView
from meltguard.core.units import NodeName, Seconds
from meltguard.errors import Unavailable
from meltguard.ports import Census, Fleet
from support.eventually import eventually, soon
from support.fake_apiserver import FakeApiServer, serving, write_kubeconfig
from support.fakes import FakeFleet

PODS = "/api/v1/namespaces/default/pods"
Json = dict[str, Any]


def a_node(labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None) -> Json:
    metadata = {"labels": {"meltguard.io/managed": "true", **(labels or {})}, "annotations": annotations or {}}
    return {"metadata": metadata, "spec": {"unschedulable": True}, "status": {"allocatable": {"nvidia.com/gpu": "8"}}}


def a_pod(node: str) -> Json:
    container = {"name": "c", "image": "x", "resources": {"limits": {"nvidia.com/gpu": "4"}}}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0, **({"nodeName": node} if node else {})}
    return {"metadata": {"labels": {"app": "image-gen"}}, "spec": spec}


@dataclass(frozen=True)
class Line:
    """The way to an API server."""

    cut: Callable[[], object]
    mend: Callable[[], object]


class Counting(Fleet, Census, Protocol):
    """Both ports: whoever knows the nodes can count them."""


@dataclass(frozen=True)
class Setting:
    """A fleet and the cluster behind it. Names are the test's own: the cluster may hold other tests' objects."""

    fleet: "Counting"
    put_node: Callable[[str, Json], Awaitable[None]]
    put_pod: Callable[[str, Json], Awaitable[None]]
    remove_node: Callable[[str], Awaitable[None]]
    cut_off: Callable[[], object]

    def seen(self, name: str) -> NodeView | None:
        """A node in the view."""
        return next((node for node in self.fleet.view().nodes if node.name == name), None)


def named(name: str, body: Json, **more: Any) -> Json:
    return {**body, "metadata": {**body["metadata"], "name": name, **more}}


@asynccontextmanager
async def faked(_: Path) -> AsyncIterator[Setting]:
    fleet = FakeFleet()
    pods: dict[str, list[Any]] = {}

    async def put_node(name: str, body: Json) -> None:
        await asyncio.sleep(0)
        uid = fleet.nodes[NodeName(name)].uid if name in fleet.nodes else str(uuid.uuid4())
        fleet.put(read_node(json.dumps(named(name, body, uid=uid)).encode(), pods.get(name, ())))

    async def put_pod(name: str, body: Json) -> None:
        await asyncio.sleep(0)
        pod = read_pod(json.dumps(named(name, body, uid=name, namespace="default")).encode())
        if pod.node in fleet.nodes:
            pods.setdefault(pod.node, []).append(pod)
            fleet.put(replace(fleet.nodes[pod.node], pods=tuple(pods[pod.node])))
        else:
            fleet.pending += (pod,)

    async def remove_node(name: str) -> None:
        await asyncio.sleep(0)
        del fleet.nodes[NodeName(name)]

    def cut_off() -> None:
        fleet.away = True

    yield Setting(fleet, put_node, put_pod, remove_node, cut_off)


@asynccontextmanager
async def mirrored(kubeconfig: Path, line: Line) -> AsyncIterator[Setting]:
    async with await KubernetesApi.connect(str(kubeconfig)) as api:
        fleet = KubernetesFleet(api.within(Seconds(5.0)), SystemClock())
        task = asyncio.create_task(fleet.run())

        made: set[str] = set()

        async def put_node(name: str, body: Json) -> None:
            path = f"/api/v1/nodes/{name}"
            text = json.dumps(named(name, {"apiVersion": "v1", "kind": "Node", **body})).encode()
            there = await api.get(path) is not None
            await (api.patch(path, text, PatchKind.MERGE) if there else api.post("/api/v1/nodes", text))
            made.add(path)

        async def put_pod(name: str, body: Json) -> None:
            await api.post(PODS, json.dumps(named(name, {"apiVersion": "v1", "kind": "Pod", **body})).encode())
            made.add(f"{PODS}/{name}")

        async def remove_node(name: str) -> None:
            await api.delete(f"/api/v1/nodes/{name}")

        async with soon(10.0):
            await fleet.synced()
        try:
            yield Setting(fleet, put_node, put_pod, remove_node, line.cut)
        finally:
            line.mend()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            for path in made:
                await api.delete(path)


@asynccontextmanager
async def over_a_socket(tmp_path: Path) -> AsyncIterator[Setting]:
    async def away(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    server = FakeApiServer()
    async with serving(server.handle) as url:
        kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", url)
        line = Line(lambda: server.faults.append(away), server.faults.clear)
        async with mirrored(kubeconfig, line) as setting:
            yield setting


@pytest.fixture(params=["fake", "socket", pytest.param("plane", marks=pytest.mark.plane)])
async def setting(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Setting]:
    if request.param != "plane":
        async with (faked if request.param == "fake" else over_a_socket)(tmp_path) as made:
            yield made
        return
    plane = request.getfixturevalue("plane")
    server = plane.processes["kube-apiserver"]
    line = Line(lambda: os.kill(server, signal.SIGSTOP), lambda: os.kill(server, signal.SIGCONT))
    async with mirrored(plane.kubeconfig, line) as made:
        yield made


@pytest.fixture
def name() -> str:
    return f"node-{uuid.uuid4().hex[:8]}"


async def test_a_node_shows_as_it_is(setting: Setting, name: str) -> None:
    await setting.put_node(name, a_node({"workload": "research"}))
    await eventually(lambda: setting.seen(name))
    node = setting.seen(name)
    assert node is not None
    assert (node.managed, node.unschedulable, node.gpus, node.ready) == (True, True, 8, False)
    assert node.labels["workload"] == "research"
    assert node.uid


async def test_a_fresh_read_is_the_truth_before_the_view_knows_it(setting: Setting, name: str) -> None:
    await setting.put_node(name, a_node())
    await setting.put_node(name, a_node({"colour": "blue"}))
    fresh = await setting.fleet.fresh(NodeName(name))
    assert fresh is not None
    assert fresh.labels["colour"] == "blue"


async def test_pods_are_on_their_node(setting: Setting, name: str) -> None:
    await setting.put_node(name, a_node())
    await setting.put_pod(f"{name}-pod", a_pod(name))
    await eventually(lambda: (node := setting.seen(name)) and node.pods)
    for node in (setting.seen(name), await setting.fleet.fresh(NodeName(name))):
        assert node is not None
        ((pod),) = node.pods
        assert (pod.name, pod.node, pod.gpus, pod.grace) == (f"{name}-pod", name, 4, 0.0)
        assert pod.labels == {"app": "image-gen"}


async def test_a_pod_without_a_node_is_pending(setting: Setting, name: str) -> None:
    await setting.put_pod(name, a_pod(""))
    await eventually(lambda: name in {pod.name for pod in setting.fleet.view().pending})


async def test_a_garbage_claim_is_a_problem_and_no_claim(setting: Setting, name: str) -> None:
    await setting.put_node(name, a_node(annotations={CLAIM_ANNOTATION: "{broken"}))
    await eventually(lambda: setting.seen(name))
    for node in (setting.seen(name), await setting.fleet.fresh(NodeName(name))):
        assert node is not None
        assert node.claim is None
        assert node.claim_problem


async def test_a_node_that_is_gone_is_none_and_leaves_the_view(setting: Setting, name: str) -> None:
    await setting.put_node(name, a_node())
    await eventually(lambda: setting.seen(name))
    await setting.remove_node(name)
    assert await setting.fleet.fresh(NodeName(name)) is None
    await eventually(lambda: setting.seen(name) is None)


async def test_a_node_that_comes_back_is_another(setting: Setting, name: str) -> None:
    await setting.put_node(name, a_node())
    before = await setting.fleet.fresh(NodeName(name))
    await setting.remove_node(name)
    await setting.put_node(name, a_node())
    after = await setting.fleet.fresh(NodeName(name))
    assert before is not None
    assert after is not None
    assert before.uid != after.uid


async def test_cut_off_the_view_stays_and_a_fresh_read_says_so(setting: Setting, name: str) -> None:
    await setting.put_node(name, a_node())
    await eventually(lambda: setting.seen(name))
    setting.cut_off()
    with pytest.raises(Unavailable):
        await setting.fleet.fresh(NodeName(name))
    assert setting.seen(name) is not None


async def test_a_count_is_of_the_nodes_that_carry_the_labels_and_the_truth(setting: Setting, name: str) -> None:
    labels = {"pool": name}
    await setting.put_node(name, a_node({"pool": name, "rack": "r1"}))
    await setting.put_node(f"{name}-other", a_node({"pool": "else"}))
    assert [node.name for node in await setting.fleet.members(labels)] == [name]
    await setting.put_node(name, a_node({"pool": name}, {CLAIM_ANNOTATION: "garbage"}))
    (counted,) = await setting.fleet.members(labels)
    assert counted.claim_problem
