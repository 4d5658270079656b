"""Image servers that tell their queue, each in its own format."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from meltguard.agent.server_words import ServerKind
from meltguard.agent.settings import ServerLook
from meltguard.core.units import Seconds
from support.eventually import eventually
from support.loopback import answering

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
        await eventually(lambda: self.times >= goal, 5.0)


@asynccontextmanager
async def serving_words(kind: ServerKind) -> AsyncIterator[tuple[Teller, ServerLook]]:
    """A server of this kind that tells, and how to look at it, fifty times a second."""
    path, text, *_ = TEXTS[kind]
    teller = Teller(text)
    async with answering(web.get(path, teller.tell)) as port:
        url = f"http://127.0.0.1:{port}{path}"
        yield teller, ServerLook(kind=kind, url=url, every=Seconds(0.02), stale_after=Seconds(3.0))


def vllm(running: int) -> str:
    """What a vLLM tells that runs so many requests, and has none waiting."""
    idle = VLLM.replace("} 2.0", "} 0.0").replace("} 1.0", "} 0.0")
    return idle.replace('running{engine="0",model_name="Qwen/Qwen-Image"} 0.0', f'running{{engine="0"}} {running}')
