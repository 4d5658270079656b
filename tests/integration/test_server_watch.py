"""The queue of image servers that know it: read over HTTP in their own formats, and what the agent makes of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web

from meltguard.agent.server import ServingAgent
from meltguard.agent.server_watch import look_at
from meltguard.agent.server_words import ServerKind
from meltguard.agent.settings import ServerLook
from meltguard.core.units import Gpus, Seconds
from meltguard.errors import InvalidInput
from support.agent_requests import agent, report, waiting
from support.agents import FREE, PLUS, ImageServer, a_lease, ask, look, push, until
from support.valkey import free_port

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="Qwen/Qwen-Image"} 2.0
vllm:num_requests_running{engine="1",model_name="Qwen/Qwen-Image"} 1.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="Qwen/Qwen-Image"} 1.0
vllm:num_requests_waiting{engine="1",model_name="Qwen/Qwen-Image"} 0.0
# HELP vllm:request_inference_time_seconds Histogram of time spent in RUNNING phase for request.
# TYPE vllm:request_inference_time_seconds histogram
vllm:request_inference_time_seconds_bucket{engine="0",le="+Inf",model_name="Qwen/Qwen-Image"} 8.0
vllm:request_inference_time_seconds_count{engine="0",model_name="Qwen/Qwen-Image"} 8.0
vllm:request_inference_time_seconds_sum{engine="0",model_name="Qwen/Qwen-Image"} 16.5
"""
TRITON = """\
# HELP nv_inference_compute_infer_duration_us Cumulative compute inference duration in microseconds
# TYPE nv_inference_compute_infer_duration_us counter
nv_inference_compute_infer_duration_us{model="sdxl",version="1"} 15500000
nv_inference_compute_infer_duration_us{model="vae",version="1"} 1000000
# HELP nv_inference_pending_request_count Instantaneous number of pending requests awaiting execution per-model.
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="sdxl",version="1"} 3
nv_inference_pending_request_count{model="vae",version="1"} 1
"""
RAY_SERVE = """\
# HELP ray_serve_deployment_queued_queries The current number of queries to this deployment waiting for a replica.
# TYPE ray_serve_deployment_queued_queries gauge
ray_serve_deployment_queued_queries{application="images",deployment="Sdxl"} 1.0
# HELP ray_serve_replica_processing_queries The current number of queries being processed.
# TYPE ray_serve_replica_processing_queries gauge
ray_serve_replica_processing_queries{application="images",deployment="Sdxl",replica="a"} 2.0
ray_serve_replica_processing_queries{application="images",deployment="Sdxl",replica="b"} 1.0
# TYPE ray_serve_deployment_processing_latency_ms histogram
ray_serve_deployment_processing_latency_ms_count{application="images",deployment="Sdxl",replica="a"} 9.0
ray_serve_deployment_processing_latency_ms_sum{application="images",deployment="Sdxl",replica="a"} 16500.0
"""
RUNNING = [[number, f"prompt-{number}", {}, {}, []] for number in range(3)]
COMFYUI = json.dumps({"queue_running": RUNNING, "queue_pending": RUNNING[:1]})
TEXTS = {
    ServerKind.VLLM: ("/metrics", VLLM, 4, 1, 16.5),
    ServerKind.TRITON: ("/metrics", TRITON, 4, 4, 16.5),
    ServerKind.RAY_SERVE: ("/metrics", RAY_SERVE, 4, 1, 16.5),
    ServerKind.COMFYUI: ("/queue", COMFYUI, 4, 1, None),
}


@dataclass
class Teller:
    """A server that tells one text."""

    text: str
    status: int = 200
    times: int = 0

    async def tell(self, _request: web.Request) -> web.Response:
        """Tell it."""
        self.times += 1
        return web.Response(text=self.text, status=self.status)

    async def asked(self, times: int) -> None:
        """Wait until it was asked so often from now on."""
        goal = self.times + times

        async def reached() -> bool:
            await asyncio.sleep(0)
            return self.times >= goal

        await until(reached)


@asynccontextmanager
async def telling(kind: ServerKind) -> AsyncIterator[tuple[Teller, ServerLook]]:
    path, text, *_ = TEXTS[kind]
    teller = Teller(text)
    app = web.Application()
    app.router.add_get(path, teller.tell)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    url = f"http://127.0.0.1:{port}{path}"
    try:
        yield teller, ServerLook(kind=kind, url=url, every=Seconds(0.02), stale_after=Seconds(0.5))
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("kind", ServerKind)
async def test_what_a_server_holds_is_reported_and_takes_gpus_from_ours(
    session: aiohttp.ClientSession, kind: ServerKind
) -> None:
    *_, held, queued, busy = TEXTS[kind]
    image_server = ImageServer(held=asyncio.Event())
    async with telling(kind) as (teller, words), agent(image_server, server=words, gpus=Gpus(5)) as running:
        await push(session, running, a_lease(FREE, PLUS))
        await teller.asked(3)
        told = await report(session, running)
        assert (told["serverHeld"], told["serverWaiting"], told["serverBusySeconds"]) == (held, queued, busy)
        assert told["others"] == 4
        assert (await look(session, running, "/v1/load")).body["others"] == 4
        assert "meltguard_agent_server_held 4.0" in (await look(session, running, "/metrics")).body
        asked = [asyncio.create_task(ask(session, running)) for _ in range(3)]
        await waiting(session, running, "free", 2)
        assert image_server.now == 1
        assert image_server.held is not None
        image_server.held.set()
        assert [(await each).status for each in asked] == [200, 200, 200]


async def test_our_own_requests_are_not_others(session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(held=asyncio.Event())
    async with telling(ServerKind.VLLM) as (teller, words), agent(image_server, server=words, gpus=Gpus(6)) as running:
        teller.text = VLLM.replace("} 2.0", "} 0.0").replace("} 1.0", "} 0.0")
        await teller.asked(2)
        asked = [asyncio.create_task(ask(session, running)) for _ in range(4)]
        await until(lambda: _reaches(image_server, 4))
        teller.text = VLLM
        await teller.asked(3)
        assert (await report(session, running))["others"] == 0
        assert image_server.held is not None
        image_server.held.set()
        await asyncio.gather(*asked)


@pytest.mark.parametrize("trouble", ["status", "text", "series"])
async def test_a_server_that_tells_no_more_is_unknown_and_not_idle_nor_busy_for_ever(
    session: aiohttp.ClientSession, trouble: str
) -> None:
    async with telling(ServerKind.VLLM) as (teller, words), agent(ImageServer(), server=words, gpus=Gpus(5)) as running:
        await teller.asked(3)
        assert (await report(session, running))["others"] == 4
        teller.status = 503 if trouble == "status" else 200
        teller.text = {"text": "<html>", "series": "vllm:num_requests_running 0\n"}.get(trouble, VLLM)
        await until(lambda: _unknown(session, running))
        told = await report(session, running)
        assert (told["others"], told["serverHeld"], told["serverWaiting"]) == (0, None, None)
        assert running.agent.server_watch is not None
        assert running.agent.server_watch.failures > 0


async def test_a_wrong_count_does_not_let_nobody_in(session: aiohttp.ClientSession) -> None:
    async with telling(ServerKind.COMFYUI) as (teller, words), agent(ImageServer(), server=words) as running:
        await teller.asked(3)
        assert (await ask(session, running)).status == 200


def test_each_preset_knows_where_its_server_tells() -> None:
    upstream = "http://127.0.0.1:8188/base?"
    urls = [look_at(kind, None, upstream).url for kind in ServerKind]
    assert [url.removeprefix("http://127.0.0.1:") for url in urls] == [
        "8188/metrics",
        "8002/metrics",
        "8080/metrics",
        "8188/queue",
    ]
    assert look_at("triton", "http://t:1/m", None).url == "http://t:1/m"
    with pytest.raises(InvalidInput, match="vllm, triton, ray-serve, comfyui"):
        look_at("tgi", None, upstream)
    with pytest.raises(InvalidInput, match="--server-url"):
        look_at("vllm", None, None)


async def _reaches(image_server: ImageServer, requests: int) -> bool:
    await asyncio.sleep(0)
    return image_server.now == requests


async def _unknown(session: aiohttp.ClientSession, running: ServingAgent) -> bool:
    told = await report(session, running)
    return told["serverHeld"] is None and told["others"] == 0
