"""The image server, called as ASGI servers call it."""

import asyncio
import json

import pytest

from meltguard.agent.asgi import Message
from meltguard.core.units import Seconds, Share
from meltguard.demo.gpu import card
from meltguard.demo.image_server import PATH, ImageServer
from meltguard.sim.recorded import recording
from meltguard.sim.recording import Recording
from meltguard.sim.spread import Rows, seeded
from support.eventually import eventually


def recorded(seconds: float, failure_share: float = 0.0) -> Recording:
    drawn = recording(None)
    return Recording(
        source="made",
        service=dict.fromkeys(drawn.service, Rows((seconds,))),
        failed=Rows((seconds,)),
        failure_share=Share(failure_share),
        users=None,
        requests_a_user=drawn.requests_a_user,
        images=drawn.images,
        model_load=drawn.model_load,
        envelope=drawn.envelope,
    )


async def ask(
    server: ImageServer, body: bytes = b'{"n": 2}', path: str = PATH, method: str = "POST"
) -> tuple[int, bytes]:
    sent: list[Message] = []
    incoming: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await server({"type": "http", "path": path, "method": method, "headers": []}, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def test_as_many_images_come_as_were_asked_for() -> None:
    server = ImageServer([card(0, seeded(1), 1.0)], recorded(0.01), seeded(1), speed=1.0)

    status, body = await ask(server)

    assert status == 200
    assert len(json.loads(body)["data"]) == 2


async def test_one_gpu_does_one_request_at_a_time_and_speed_divides_its_time() -> None:
    gpu = card(0, seeded(1), 1.0)
    server = ImageServer([gpu], recorded(1.0), seeded(1), speed=20.0)
    loop = asyncio.get_running_loop()
    start = loop.time()

    await asyncio.gather(*(ask(server) for _ in range(4)))

    assert loop.time() - start >= 4 * 0.05
    assert not gpu.busy


async def test_two_gpus_do_two_at_once_and_know_that_they_work() -> None:
    cards = [card(i, seeded(i), 1.0) for i in range(2)]
    server = ImageServer(cards, recorded(60.0), seeded(1), speed=1.0)
    both = asyncio.gather(ask(server), ask(server))

    await eventually(lambda: all(gpu.busy for gpu in cards))
    both.cancel()
    await asyncio.gather(both, return_exceptions=True)
    assert not any(gpu.busy for gpu in cards)


async def test_a_failed_image_is_an_error_and_frees_its_gpu() -> None:
    gpu = card(0, seeded(1), 1.0)
    server = ImageServer([gpu], recorded(0.01, failure_share=1.0), seeded(1), speed=1.0)

    status, _ = await ask(server)

    assert status == 500
    assert not gpu.busy


async def test_a_client_that_leaves_frees_its_gpu() -> None:
    gpu = card(0, seeded(1), 1.0)
    server = ImageServer([gpu], recorded(60.0), seeded(1), speed=1.0)
    asking = asyncio.create_task(ask(server))
    await eventually(lambda: gpu.busy)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)

    assert not gpu.busy
    assert gpu.read(Seconds(0.0)).pod is None


@pytest.mark.parametrize(
    ("path", "method", "body", "status"),
    [("/other", "POST", b"{}", 404), (PATH, "GET", b"", 405), (PATH, "POST", b"x" * 70_000, 413)],
)
async def test_what_it_does_not_do_it_refuses(path: str, method: str, body: bytes, status: int) -> None:
    server = ImageServer([card(0, seeded(1), 1.0)], recorded(0.01), seeded(1), speed=1.0)

    assert (await ask(server, body, path, method))[0] == status
