"""Requests through the agent to an image server, over real sockets."""

import asyncio
import time
from pathlib import Path

import aiohttp

from meltguard.agent.asgi import Receive, Scope, Send
from meltguard.agent.settings import Pace
from meltguard.api.limit_document import DocumentKind, TierState
from meltguard.core.units import Gpus, Seconds
from support.agent_requests import agent, report, statuses, waiting
from support.agents import (
    FREE,
    PLUS,
    ImageServer,
    a_baseline,
    a_lease,
    ask,
    limited,
    look,
    push,
    signed,
)
from support.eventually import soon, until


async def test_no_more_run_at_once_than_there_are_gpus(session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(seconds=0.05, held=(held := asyncio.Event()))
    async with agent(image_server, gpus=Gpus(2)) as running:
        begun = time.monotonic()
        asked = [asyncio.create_task(ask(session, running)) for _ in range(12)]
        await waiting(session, running, "default", 10)
        held.set()
        assert statuses(await asyncio.gather(*asked)) == {200: 12}
        assert image_server.most == 2
        body = await report(session, running)
        assert (body["gpus"], body["inFlight"], body["unitsDone"]) == (2, 0, 12.0)
        assert 0.9 * 12 * 0.05 <= body["busyGpuSeconds"] <= 2 * (time.monotonic() - begun)
        assert body["tiers"]["default"]["waited"] == 10
        assert body["tiers"]["default"]["waitP99"] > 0.15


async def test_the_paying_go_first(session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(held=asyncio.Event())
    async with agent(image_server) as running:
        await push(session, running, a_lease(FREE, PLUS))
        order: list[str] = []

        async def one(tier: str) -> None:
            assert (await ask(session, running, tier)).status == 200
            order.append(tier)

        tasks = [asyncio.create_task(one("free"))]
        await image_server.began.wait()
        for number, tier in enumerate(("free", "plus", "free", "plus")):
            tasks.append(asyncio.create_task(one(tier)))
            await waiting(session, running, tier, number // 2 + 1)
        image_server.held.set()
        await asyncio.gather(*tasks)
    assert order == ["free", "plus", "plus", "free", "free"]


async def test_whoever_waited_long_enough_is_told_to_come_again(session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(held=asyncio.Event())
    async with agent(image_server) as running:
        impatient = FREE.model_copy(update={"max_wait": 0.2, "shed_status": 429, "message": "Come back later."})
        await push(session, running, a_lease(impatient))
        first = asyncio.create_task(ask(session, running))
        await image_server.began.wait()
        begun = time.monotonic()
        told = await ask(session, running)
        assert time.monotonic() - begun >= 0.2
        assert (told.status, told.body["reason"], told.body["message"]) == (429, "waited-out", "Come back later.")
        assert 1 <= int(told.headers["retry-after"]) <= 38
        image_server.held.set()
        assert (await first).status == 200


async def test_a_client_that_leaves_frees_its_place(session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(held=(held := asyncio.Event()))
    async with agent(image_server) as running:
        await push(session, running, a_lease(FREE.model_copy(update={"queue": 1})))
        first = asyncio.create_task(ask(session, running))
        await image_server.began.wait()
        leaving = asyncio.create_task(ask(session, running))
        await waiting(session, running, "free", 1)
        assert (await ask(session, running)).body["reason"] == "queue-full"
        leaving.cancel()
        await waiting(session, running, "free", 0)
        held.set()
        assert (await ask(session, running)).status == 200
        assert (await first).status == 200
        assert image_server.made == 2
        assert (await report(session, running))["tiers"]["free"]["refused"] == {"queue-full": 1, "client-gone": 1}


async def test_a_large_body_that_waits_reaches_the_app_whole(session: aiohttp.ClientSession) -> None:
    received: list[int] = []

    async def reading(_scope: Scope, receive: Receive, send: Send) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            assert message["type"] == "http.request"
            size, more = size + len(message["body"]), message.get("more_body", False)
        received.append(size)
        await asyncio.sleep(0.1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"image"})

    async with agent(reading) as running:
        body = {"n": 1, "init_image": "x" * 3_000_000}
        told = await asyncio.gather(*(ask(session, running, json=body) for _ in range(3)))
        assert statuses(told) == {200: 3}
        assert received == [received[0]] * 3
        assert received[0] > 3_000_000


async def test_a_tier_that_is_suspended_while_waiting_is_told_at_once(session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(held=asyncio.Event())
    async with agent(image_server) as running:
        await push(session, running, a_lease(FREE, PLUS))
        first = asyncio.create_task(ask(session, running, "plus"))
        await image_server.began.wait()
        second = asyncio.create_task(ask(session, running))
        await waiting(session, running, "free", 1)
        suspended = limited(FREE, TierState.SUSPEND, 0.0, why="Critical: wait 14 s", since=1_800_000_000.0)
        await push(session, running, a_lease(suspended, PLUS, revision=2))
        told = await second
        assert not first.done()
        assert (told.status, told.body["reason"]) == (503, "tier-suspended")
        assert told.body["type"].endswith("#temporary-reduced-capacity")
        image_server.held.set()
        assert (await first).status == 200


async def test_delay_spreads_requests_over_time_and_a_lift_ends_the_wait(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=0.0), gpus=Gpus(8)) as running:
        await push(session, running, a_lease(limited(FREE, TierState.DELAY, 10.0)))
        begun = time.monotonic()
        told = await asyncio.gather(*(ask(session, running) for _ in range(5)))
        assert statuses(told) == {200: 5}
        assert time.monotonic() - begun >= 0.39
        patient = FREE.model_copy(update={"max_wait": 600.0})
        await push(session, running, a_lease(limited(patient, TierState.DELAY, 0.01), revision=2))
        slow = asyncio.create_task(ask(session, running))
        await waiting(session, running, "free", 1)
        await push(session, running, a_lease(FREE, revision=3))
        async with soon():
            assert (await slow).status == 200


async def test_reject_refuses_over_rate_at_once(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=0.0), gpus=Gpus(8)) as running:
        await push(session, running, a_lease(limited(FREE, TierState.REJECT, 0.05, why="Overloaded")))
        told = [await ask(session, running) for _ in range(3)]
        assert [each.status for each in told] == [200, 503, 503]
        assert (told[1].body["reason"], told[1].body["why"]) == ("over-rate", "Overloaded")
        assert 10 <= int(told[1].headers["retry-after"]) <= 39


async def test_an_observing_agent_refuses_nothing_and_counts(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=0.01)) as running:
        suspended = limited(FREE, TierState.SUSPEND, 0.0, queue=0, max_wait=0.0)
        await push(session, running, a_lease(suspended, kind=DocumentKind.OBSERVE))
        told = await asyncio.gather(*(ask(session, running) for _ in range(5)))
        assert statuses(told) == {200: 5}
        metrics = (await look(session, running, "/metrics")).body
        assert 'would_refuse_total{reason="tier-suspended",tier="free"} 5.0' in metrics
        assert 'meltguard_agent_refused_total{reason="tier-suspended",tier="free"} 0.0' in metrics


async def test_a_released_agent_forgets_its_limits(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=0.0)) as running:
        await push(session, running, a_lease(limited(FREE, TierState.SUSPEND, 0.0)))
        assert (await ask(session, running)).status == 503
        told = await push(session, running, a_lease(kind=DocumentKind.RELEASED, revision=2, tiers=()))
        assert told.body["source"] == "OwnGpu"
        assert (await ask(session, running)).status == 200


async def test_a_lease_that_ends_leaves_the_baseline_and_a_broken_file_the_last_one(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    file = tmp_path / "baseline.json"
    safe = FREE.model_copy(update={"safe_rate": 0.01, "max_wait": 0.0})
    file.write_bytes(signed(a_baseline(safe, revision=3)))
    pace = Pace(tick=Seconds(0.05), baseline_hold=Seconds(3.0), baseline_ramp=Seconds(0.2))
    async with agent(ImageServer(seconds=0.0), baseline_file=file, pace=pace, gpus=Gpus(4)) as running:
        told = await push(session, running, a_lease(ttl=0.3))
        assert told.body["source"] == "Lease"
        file.write_bytes(b"not signed at all")
        after = told.body["sequence"]
        body = (await look(session, running, f"/v1/report?after={after}&wait=5")).body
        assert (body["source"], body["revision"]) == ("Baseline", 3)
        assert [(await ask(session, running)).status for _ in range(3)] == [200, 503, 503]
        file.write_bytes(signed(a_baseline(safe.model_copy(update={"safe_rate": 5.0}), revision=4)))

        async def read_again() -> bool:
            return bool((await report(session, running))["revision"] == 4)

        await until(read_again)
        assert "baselines_refused_total 1.0" in (await look(session, running, "/metrics")).body
        file.unlink()

        async def unlimited() -> bool:
            return statuses([await ask(session, running) for _ in range(20)]) == {200: 20}

        await until(unlimited)  # the safe rate was held and has grown to no rate: this tier has no maximum
        assert (await report(session, running))["source"] == "Baseline"
