"""The queue of image servers that know it: read over HTTP in their own formats, and what the agent makes of it."""

import asyncio

import aiohttp
import pytest

from meltguard.agent.server import ServingAgent
from meltguard.agent.server_watch import look_at
from meltguard.agent.server_words import ServerKind
from meltguard.core.units import Gpus
from meltguard.errors import InvalidInput
from support.agent_requests import agent, report, waiting
from support.agents import FREE, PLUS, ImageServer, a_lease, ask, look, push
from support.eventually import eventually, until
from support.telling_servers import TEXTS, VLLM, serving_words


@pytest.mark.parametrize("kind", ServerKind)
async def test_what_a_server_holds_is_reported_and_takes_gpus_from_ours(
    session: aiohttp.ClientSession, kind: ServerKind
) -> None:
    *_, held, queued, busy = TEXTS[kind]
    image_server = ImageServer(held=asyncio.Event())
    async with serving_words(kind) as (teller, words), agent(image_server, server=words, gpus=Gpus(5)) as running:
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


async def test_a_long_text_is_read_to_its_end(session: aiohttp.ClientSession) -> None:
    """A busy server writes hundreds of kilobytes, and the wanted lines may be the last."""
    async with serving_words(ServerKind.VLLM) as (teller, words), agent(ImageServer(), server=words) as running:
        teller.text = "vllm:other_bucket 1.0\n" * 50_000 + VLLM
        await teller.asked(3)
        assert (await report(session, running))["serverHeld"] == 4


async def test_our_own_requests_are_not_others(session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(held=asyncio.Event())
    async with (
        serving_words(ServerKind.VLLM) as (teller, words),
        agent(image_server, server=words, gpus=Gpus(6)) as running,
    ):
        teller.text = VLLM.replace("} 2.0", "} 0.0").replace("} 1.0", "} 0.0")
        await teller.asked(2)
        asked = [asyncio.create_task(ask(session, running)) for _ in range(4)]
        await eventually(lambda: image_server.now == 4)
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
    async with (
        serving_words(ServerKind.VLLM) as (teller, words),
        agent(ImageServer(), server=words, gpus=Gpus(5)) as running,
    ):
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
    async with serving_words(ServerKind.COMFYUI) as (teller, words), agent(ImageServer(), server=words) as running:
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


async def _unknown(session: aiohttp.ClientSession, running: ServingAgent) -> bool:
    told = await report(session, running)
    return told["serverHeld"] is None and told["others"] == 0
