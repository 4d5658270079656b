"""The image server that a serving pod's agent stands before: real HTTP, made-up pixels, recorded durations."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Final

from meltguard.agent.asgi import Answer, Receive, Scope, Send, problem
from meltguard.agent.cost import Cost, cost_of
from meltguard.agent.wanted import wanted_in
from meltguard.clock import SystemClock
from meltguard.core.units import Seconds, Share
from meltguard.demo.gpu import Gpu
from meltguard.sim.recording import Recording

PATH: Final = "/v1/images/generations"
MAX_BODY: Final = 65_536
LONGEST: Final = Seconds(120.0)
"""What a request may take before it is cut: one of 14,000 recorded ones held its GPU for more than nine minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request's fate on a GPU."""

    seconds: Seconds  # on this machine's clock: already divided by the demo's speed
    fails: bool


class ImageServer:
    """An ASGI application with GPUs: one request holds one GPU for its time; more requests than GPUs wait in line."""

    def __init__(self, gpus: Sequence[Gpu], recording: Recording, chance: Random, speed: float) -> None:
        self._free: asyncio.Queue[Gpu] = asyncio.Queue()
        for gpu in gpus:
            self._free.put_nowait(gpu)
        self._recording = recording
        self._chance = chance
        self._speed = speed
        self._clock = SystemClock()
        self.loaded = True  # the model is in the GPUs' memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        answer = await self._answer(scope, receive)
        await answer.send(send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        if scope["path"] != PATH:
            return problem(404, f"there is no {scope['path']}; ask POST {PATH}")
        if scope["method"] != "POST":
            return problem(405, f"ask {PATH} with POST")
        if not self.loaded:
            return problem(503, "the model is loading; ask another server")
        body = await _body(receive)
        if body is None:
            return problem(413, f"a request has at most {MAX_BODY} bytes")
        return await self._paint(cost_of(wanted_in(body, "application/json")))

    async def _paint(self, cost: Cost) -> Answer:
        job = self.draw(cost.images)
        async with self._gpu() as slowness:
            await asyncio.sleep(job.seconds * slowness)  # the work itself
        if job.fails:
            return problem(500, "the GPU gave up on this image; nothing is counted, ask again")
        made = {"created": int(self._clock.now()), "data": [{"b64_json": ""} for _ in range(cost.images)]}
        return Answer(status=200, body=json.dumps(made).encode())

    def draw(self, images: int) -> Job:
        """How long one request takes, up to LONGEST, and whether it fails, as recorded."""
        fails = self._chance.random() < self._recording.failure_share
        seconds = (
            self._recording.failed.at(Share(self._chance.random()))
            if fails
            else self._recording.service_time(images, self._chance)
        )
        return Job(seconds=Seconds(min(LONGEST, seconds) / self._speed), fails=fails)

    @asynccontextmanager
    async def _gpu(self) -> AsyncIterator[float]:
        """A free GPU, at work while the block runs; how much slower it is than a good one."""
        gpu = await self._free.get()
        gpu.start(self._clock.elapsed())
        try:
            yield gpu.slowness(self._clock.elapsed())
        finally:
            gpu.stop(self._clock.elapsed())
            self._free.put_nowait(gpu)


async def _body(receive: Receive) -> bytes | None:
    """The request's body; None where it is too large or the client has gone."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if sum(map(len, parts)) > MAX_BODY:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)
