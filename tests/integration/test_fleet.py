import asyncio
import json
import time
import timeit
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from meltguard.adapters.fleet_shape import read_node
from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_fleet import KubernetesFleet
from meltguard.adapters.kubernetes_list import ListPage
from meltguard.clock import SystemClock
from meltguard.core.fleet import NodeView
from meltguard.core.units import NodeName
from support.eventually import eventually, soon
from support.fake_apiserver import FakeApiServer, serving, write_kubeconfig

NODES, PODS = "/api/v1/nodes", "/api/v1/namespaces/serving/pods"


def a_node(number: int) -> dict[str, Any]:
    labels = {f"feature.node.kubernetes.io/x{n}": "true" for n in range(30)}
    conditions = [{"type": kind, "status": "True", "message": "m" * 60} for kind in ("Ready", "DiskPressure")]
    status = {"allocatable": {"nvidia.com/gpu": "8"}, "conditions": conditions, "images": [{"names": ["i" * 80]}] * 20}
    managed = [{"manager": "kubelet", "fieldsV1": {f"f:{n}": {} for n in range(30)}}]
    return {"metadata": {"uid": f"n{number}", "labels": labels, "managedFields": managed}, "status": status}


def a_pod(node: str, ip: str = "", phase: str = "Running") -> dict[str, Any]:
    containers = [{"name": "c", "resources": {"requests": {"nvidia.com/gpu": "4"}}}]
    spec = {"nodeName": node, "containers": containers}
    return {"metadata": {"labels": {"app": "x"}}, "spec": spec, "status": {"phase": phase, "podIP": ip}}


@asynccontextmanager
async def fleet_over(server: FakeApiServer, tmp_path: Path) -> AsyncIterator[KubernetesFleet]:
    async with serving(server.handle) as url:
        kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", url)
        async with await KubernetesApi.connect(str(kubeconfig)) as api:
            fleet = KubernetesFleet(api, SystemClock())
            task = asyncio.create_task(fleet.run())
            async with soon(30.0):
                await fleet.synced()
            yield fleet
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_the_view_is_joined_anew_only_where_something_changed(tmp_path: Path) -> None:
    server = FakeApiServer()
    server.put(f"{NODES}/n1", a_node(1))
    began = time.monotonic()
    async with fleet_over(server, tmp_path) as fleet:
        assert fleet.view().nodes is fleet.view().nodes
        before = fleet.view()
        server.put(f"{PODS}/p1", a_pod("n1"))
        await eventually(lambda: fleet.view().nodes is not before.nodes)
        assert [pod.name for pod in fleet.view().nodes[0].pods] == ["p1"]
        assert fleet.age <= time.monotonic() - began
        assert fleet.problem == ""


async def test_a_pod_on_a_node_that_is_not_known_counts_on_no_node(tmp_path: Path) -> None:
    server = FakeApiServer()
    server.put(f"{NODES}/n1", a_node(1))
    server.put(f"{PODS}/p1", a_pod("n2"))
    async with fleet_over(server, tmp_path) as fleet:
        assert fleet.view().nodes[0].pods == ()
        assert [pod.node for pod in fleet.view().pending] == ["n2"]


def unseen(server: FakeApiServer, node: str, body: dict[str, Any] | None) -> None:
    """Change or delete (None) a node as somebody else would; the watch never tells."""
    path = f"{NODES}/{node}"
    if body is None:
        server.remove(path)
    else:
        server.put(path, body)
    server.history.pop()


async def test_what_a_watch_never_told_shows_once_the_node_is_read_anew(tmp_path: Path) -> None:
    server = FakeApiServer()
    for number in (1, 2):
        server.put(f"{NODES}/n{number}", a_node(number))
    server.put(f"{PODS}/p1", a_pod("n1"))
    async with fleet_over(server, tmp_path) as fleet:
        changed = a_node(1)
        changed["spec"] = {"unschedulable": True}
        unseen(server, "n1", changed)
        unseen(server, "n2", None)
        await asyncio.sleep(0.2)
        assert [node.unschedulable for node in fleet.view().nodes] == [False, False], "the mirror cannot know"
        assert await fleet.fresh(NodeName("n2")) is None
        read = await fleet.fresh(NodeName("n1"))
        assert fleet.view().nodes == (read,), "as read, with its pods; the deleted one left no ghost"
        recreated = {**a_node(1), "metadata": {"uid": "another"}}
        server.objects.pop(("/api/v1", "nodes", "", "n1"))
        unseen(server, "n1", recreated)
        await fleet.fresh(NodeName("n1"))
        assert [node.uid for node in fleet.view().nodes] == ["another"], "one node of a name"


async def test_a_read_that_an_event_overtook_teaches_the_mirror_nothing(tmp_path: Path) -> None:
    server = FakeApiServer()
    server.put(f"{NODES}/n1", a_node(1))
    async with fleet_over(server, tmp_path) as fleet:

        async def late(request: web.Request) -> web.Response | None:
            """Answer with the node as it was, after the watch has told what it has become."""
            if request.path != f"{NODES}/n1" or "watch" in request.query:
                return None
            old = server.objects["/api/v1", "nodes", "", "n1"]
            server.put(f"{NODES}/n1", {**a_node(1), "spec": {"unschedulable": True}})
            await eventually(lambda: fleet.view().nodes[0].unschedulable)
            return web.json_response(old)

        server.faults.append(late)
        await fleet.fresh(NodeName("n1"))
        assert fleet.view().nodes[0].unschedulable, "what came later is the newer"


PLACES = {
    "a node's name": ("n1", "n1"),
    "a pod's name": ("exporter", "n1"),
    "a pod's address": ("10.0.0.7", "n1"),
    "a finished pod's address may be another's by now": ("10.0.0.8", None),
    "nobody's": ("n9", None),
    "nothing": ("", None),
}


@pytest.mark.parametrize(("text", "expected"), PLACES.values(), ids=PLACES)
async def test_labels_of_metrics_lead_to_nodes(tmp_path: Path, text: str, expected: str | None) -> None:
    server = FakeApiServer()
    server.put(f"{NODES}/n1", a_node(1))
    server.put(f"{PODS}/exporter", a_pod("n1", "10.0.0.7"))
    server.put(f"{PODS}/done", a_pod("n1", "10.0.0.8", "Succeeded"))
    server.put(f"{PODS}/n1", a_pod("", "10.0.0.9"))  # a pod that bears a node's name
    async with fleet_over(server, tmp_path) as fleet:
        assert fleet.locate(text) == expected


SLOWER = 3.0
"""So many times what the standard library takes is too slow; it is about as long here."""


def test_a_page_of_a_large_cluster_is_decoded_in_a_blink() -> None:
    """Between two pages the loop runs: this is the longest that a mirror holds up pushes and renewals.

    Judged by what the standard library needs to parse the page alone, each at its best of a few times.
    """
    body = json.dumps({"metadata": {}, "items": [a_node(number) for number in range(500)]}).encode()
    named = body.replace(b'"uid"', b'"name": "n", "uid"')

    def read() -> list[NodeView]:
        return [read_node(raw) for raw in msgspec.json.decode(named, type=ListPage).items or ()]

    assert len(read()) == 500
    ours, theirs = (min(timeit.repeat(one, number=1, repeat=9)) for one in (read, lambda: json.loads(named)))
    assert ours < SLOWER * theirs


async def test_a_large_cluster_is_read_whole(tmp_path: Path) -> None:
    server = FakeApiServer()
    for number in range(5000):
        server.put(f"{NODES}/n{number}", a_node(number))
    for number in range(10_000):
        server.put(f"{PODS}/p{number}", a_pod(f"n{number // 2}"))
    async with fleet_over(server, tmp_path) as fleet:
        view = fleet.view()
        assert len(view.nodes) == 5000
        assert sum(len(node.pods) for node in view.nodes) == 10_000
        node = await fleet.fresh(NodeName("n17"))
        assert node is not None
        assert {pod.name for pod in node.pods} == {"p34", "p35"}
    assert len([request for request in server.requests if "limit=500" in request]) >= 30
