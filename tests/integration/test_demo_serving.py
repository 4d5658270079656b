"""The demo's serving side on a real control plane, without the operator: hosts, agents, users, exporters."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_fleet import KubernetesFleet
from meltguard.agent.journal import JournalEntry
from meltguard.api.signed import SigningKey
from meltguard.clock import SystemClock
from meltguard.core.fleet import PodView
from meltguard.core.units import Seconds
from meltguard.demo import cluster, research, scene
from meltguard.demo.check.evidence import read_journals, read_results
from meltguard.demo.endpoints import EndpointKeeper
from meltguard.demo.files import RunFiles, own_files
from meltguard.demo.host_setup import AGENT_PORT, KEYS_CONFIG_MAP, KEYS_ENTRY
from meltguard.demo.image_server import PATH
from meltguard.demo.processes import Child, child
from meltguard.demo.records import ENCODER, UsersSetup
from meltguard.demo.stage import Options, Stage, build_nodes, start_work, write_host_setup
from meltguard.demo.watch import Watch, is_serving
from meltguard.localcluster.plane import Plane, running_plane
from meltguard.localcluster.progress import SilentProgress
from meltguard.sim.recorded import recording
from support.eventually import PATIENCE, eventually, soon, until

pytestmark = pytest.mark.plane
SPEED = 20.0
GPUS = len(scene.node_names()) * scene.GPUS_A_NODE
SERVING_PODS = scene.INFERENCE_NODES * scene.GPUS_A_NODE
BUSY_GPUS = research.BUSY_NODES * scene.GPUS_A_NODE


@pytest.fixture(scope="module")
def own_plane() -> Iterator[Plane]:
    with running_plane() as plane:
        yield plane


@dataclass
class Running:
    """The scene, without an operator."""

    stage: Stage
    hosts: Child

    def serving(self) -> list[PodView]:
        """Pods that may be sent to."""
        return self.stage.pods(lambda pod: is_serving(pod) and pod.ready and not pod.terminating)

    def is_whole(self) -> bool:
        """Whether every GPU of the service's own nodes has its pod."""
        return len(self.serving()) == SERVING_PODS


@asynccontextmanager
async def a_scene(plane: Plane, files: RunFiles) -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(await KubernetesApi.connect(str(plane.kubeconfig)))
        fleet = KubernetesFleet(api, SystemClock())
        mirroring = asyncio.create_task(fleet.run())
        stack.callback(mirroring.cancel)
        options = Options(speed=SPEED, seed=1, keep=False, headless=True, report=files.report)
        stage = Stage(
            options=options,
            plane=plane,
            helm=Path("/helm/is/not/used/here"),
            files=files,
            api=api,
            fleet=fleet,
            drawn=recording(None),
            progress=SilentProgress(),
        )
        children = stack.enter_context(ExitStack())
        await build_nodes(stage)
        await publish_keys(api)
        arguments = [str(write_host_setup(stage))]
        hosts = children.enter_context(child("meltguard.demo.servinghost", arguments, files.log("hosts")))
        await start_work(stage)
        yield Running(stage, hosts)


async def publish_keys(api: KubernetesApi) -> None:
    """As the operator does."""
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scene.OPERATOR}}
    meta = {"name": KEYS_CONFIG_MAP, "namespace": scene.OPERATOR}
    text = SigningKey("k1", b"1" * 32).public_text()
    await cluster.create(api, space)
    await cluster.create(api, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {KEYS_ENTRY: text}})


async def until_answered(query: str, plane: Plane, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with soon(30.0), aiohttp.ClientSession() as session:
        while len(found) < count:
            async with session.get(f"{plane.prometheus_url}/api/v1/query", params={"query": query}) as answer:
                found = (await answer.json())["data"]["result"]
            await asyncio.sleep(0.2)
    return found


async def delete(stage: Stage, pod: PodView) -> None:
    path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
    await stage.api.delete(path)


async def test_the_scene_serves_and_drains(own_plane: Plane, tmp_path: Path) -> None:
    with own_files(tmp_path / "report.json") as files:
        async with a_scene(own_plane, files) as running:
            assert len(running.serving()) == SERVING_PODS
            await every_gpu_is_scraped(own_plane)
            await users_are_served(running)
            await a_picture_shows_it(running)
            await a_deleted_pod_finishes_its_image(running)
            await a_host_that_dies_comes_back(running)


async def every_gpu_is_scraped(plane: Plane) -> None:
    series = await until_answered("DCGM_FI_DEV_GPU_TEMP", plane, GPUS)
    training = await until_answered('DCGM_FI_DEV_GPU_UTIL{namespace="research"} == 100', plane, BUSY_GPUS)

    assert len({one["metric"]["UUID"] for one in series}) == GPUS
    assert {one["metric"]["Hostname"] for one in series} == set(scene.node_names())
    assert len({one["metric"]["Hostname"] for one in training}) == research.BUSY_NODES


def a_short_surge(files: RunFiles) -> UsersSetup:
    return UsersSetup(
        seed=1,
        speed=SPEED,
        base_gpus=SERVING_PODS,
        peak=0.8,
        lead_in=1.0,
        length=10.0,
        tail=1.0,
        patience=60.0,
        traces=None,
        endpoints=str(files.endpoints),
        results=str(files.users),
    )


async def users_are_served(running: Running) -> None:
    stage = running.stage
    files = stage.files
    await EndpointKeeper(stage.fleet, files.endpoints).told()
    files.setup("users").write_bytes(ENCODER.encode(a_short_surge(files)))
    with child("meltguard.demo.users", [str(files.setup("users"))], files.log("users")) as users:
        await eventually(lambda: not users.running, within=90.0)
        users.check()
    started, results = read_results(files.users)
    served = [result for result in results if result.status == 200]
    askers = {result.user for result in results}

    def entries() -> list[JournalEntry]:
        return [entry for node in read_journals(files.journals).values() for entry in node]

    # The journals are written behind the agents' backs.
    await eventually(lambda: sum(entry.delivered for entry in entries()) >= len(served))
    await eventually(lambda: {entry.user for entry in entries()} >= askers)
    assert len(results) == started.planned > 50
    assert len(served) > 0.5 * len(results)  # on a slow machine the GPUs are as fast, and the rest is not
    assert {entry.user for entry in entries()} == askers


async def a_picture_shows_it(running: Running) -> None:
    stage = running.stage
    watch = Watch(stage.api, stage.fleet, stage.plane.prometheus_url, stage.files.journals)
    async with aiohttp.ClientSession() as session:
        picture = await watch.picture(session)
    assert len(picture.nodes) == len(scene.node_names())
    assert sum(node.serving for node in picture.nodes) == SERVING_PODS
    assert sum(node.other > 0 for node in picture.nodes) == research.BUSY_NODES


async def a_deleted_pod_finishes_its_image(running: Running) -> None:
    stage = running.stage
    pod = running.serving()[0]
    async with aiohttp.ClientSession() as session:
        asking = asyncio.create_task(ask(session, pod))
        await until(lambda: makes_an_image(session, pod, asking))
        await delete(stage, pod)
        status = await asking
    await cluster.until(
        stage.fleet,
        lambda: not stage.pods(lambda one: one.uid == pod.uid),
        Seconds(PATIENCE * 30.0),
        "the drained pod to go",
    )
    assert status == 200
    await cluster.until(stage.fleet, running.is_whole, Seconds(PATIENCE * 30.0), "a pod in its place")


async def makes_an_image(session: aiohttp.ClientSession, pod: PodView, asking: asyncio.Task[int]) -> bool:
    """Whether the image is in the GPU, or was already."""
    async with session.get(f"http://{pod.ip}:{AGENT_PORT}/v1/report") as answer:
        return bool((await answer.json())["inFlight"]) or asking.done()


async def ask(session: aiohttp.ClientSession, pod: PodView) -> int:
    headers = {"x-meltguard-tier": "plus", "x-meltguard-user": "someone"}
    async with session.post(f"http://{pod.ip}:8080{PATH}", json={"n": 8}, headers=headers) as answer:
        return answer.status


async def a_host_that_dies_comes_back(running: Running) -> None:
    pod = running.serving()[0]
    kill_host(running.hosts.pid, pod.node)
    async with soon(30.0), aiohttp.ClientSession() as session:
        while True:
            try:
                status = await ask(session, pod)
            except aiohttp.ClientError:
                await asyncio.sleep(0.2)
                continue
            break
    assert status in {200, 500}


def kill_host(parent: int, node: str) -> None:
    """End the process that plays a node: they were forked in the nodes' order."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="utf-8").split()
    number = scene.node_names().index(node)
    os.kill(int(children[number]), signal.SIGKILL)
