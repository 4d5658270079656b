"""Requests through the agent to an image server, over real sockets."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from meltguard.agent.asgi import Receive, Scope, Send
from meltguard.agent.journal import JournalEntry
from meltguard.agent.middleware import AdmissionMiddleware
from meltguard.agent.server import ServingAgent, serving
from meltguard.agent.settings import Callers, Pace
from meltguard.api.limit_document import DocumentKind, TierState
from meltguard.core.units import Gpus, Seconds, TierName
from support.agents import (
    FREE,
    PLUS,
    ImageServer,
    Told,
    a_baseline,
    a_lease,
    agent_settings,
    ask,
    limited,
    look,
    push,
    signed,
    until,
)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def agent(image_server: Any, **changes: Any) -> AbstractAsyncContextManager[ServingAgent]:
    return serving(agent_settings(**changes), image_server)


async def report(session: aiohttp.ClientSession, running: ServingAgent) -> Any:
    return (await look(session, running)).body


async def waiting(session: aiohttp.ClientSession, running: ServingAgent, tier: str, count: int) -> None:
    async def reached() -> bool:
        return bool((await report(session, running))["tiers"][tier]["waiting"] == count)

    await until(reached)


def statuses(told: list[Told]) -> dict[int, int]:
    return {status: sum(each.status == status for each in told) for status in {each.status for each in told}}


async def test_no_more_run_at_once_than_there_are_gpus(session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(seconds=0.05)
    async with agent(image_server, gpus=Gpus(2)) as running:
        told = await asyncio.gather(*(ask(session, running) for _ in range(12)))
        assert statuses(told) == {200: 12}
        assert image_server.most == 2
        body = await report(session, running)
        assert (body["gpus"], body["inFlight"], body["unitsDone"]) == (2, 0, 12.0)
        assert body["busyGpuSeconds"] == pytest.approx(12 * 0.05, rel=0.5)
        assert body["tiers"]["default"]["waited"] == 10
        assert body["tiers"]["default"]["waitP99"] > 0.15


async def test_the_paying_go_first(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=0.1)) as running:
        await push(session, running, a_lease(FREE, PLUS))
        order: list[str] = []

        async def one(tier: str) -> None:
            assert (await ask(session, running, tier)).status == 200
            order.append(tier)

        tasks = [asyncio.create_task(one("free"))]
        await waiting(session, running, "free", 0)
        for number, tier in enumerate(("free", "plus", "free", "plus")):
            tasks.append(asyncio.create_task(one(tier)))
            await waiting(session, running, tier, number // 2 + 1)
        await asyncio.gather(*tasks)
    assert order == ["free", "plus", "plus", "free", "free"]


async def test_whoever_waited_long_enough_is_told_to_come_again(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=1.0)) as running:
        impatient = FREE.model_copy(update={"max_wait": 0.2, "shed_status": 429, "message": "Come back later."})
        await push(session, running, a_lease(impatient))
        first = asyncio.create_task(ask(session, running))
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        told = await ask(session, running)
        assert 0.2 <= time.monotonic() - begun < 0.6
        assert (told.status, told.body["reason"], told.body["message"]) == (429, "waited-out", "Come back later.")
        assert 1 <= int(told.headers["retry-after"]) <= 38
        assert (await first).status == 200


async def test_a_client_that_leaves_frees_its_place(session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(seconds=0.5)
    async with agent(image_server) as running:
        await push(session, running, a_lease(FREE.model_copy(update={"queue": 1})))
        first = asyncio.create_task(ask(session, running))
        await image_server.began.wait()
        leaving = asyncio.create_task(ask(session, running))
        await waiting(session, running, "free", 1)
        assert (await ask(session, running)).body["reason"] == "queue-full"
        leaving.cancel()
        await waiting(session, running, "free", 0)
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
    image_server = ImageServer(seconds=1.0)
    async with agent(image_server) as running:
        await push(session, running, a_lease(FREE, PLUS))
        first = asyncio.create_task(ask(session, running, "plus"))
        await image_server.began.wait()
        second = asyncio.create_task(ask(session, running))
        await waiting(session, running, "free", 1)
        begun = time.monotonic()
        suspended = limited(FREE, TierState.SUSPEND, 0.0, why="Critical: wait 14 s", since=1_800_000_000.0)
        await push(session, running, a_lease(suspended, PLUS, revision=2))
        told = await second
        assert time.monotonic() - begun < 0.5
        assert (told.status, told.body["reason"]) == (503, "tier-suspended")
        assert told.body["type"].endswith("#temporary-reduced-capacity")
        first.cancel()


async def test_delay_spreads_requests_over_time_and_a_lift_ends_the_wait(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=0.0), gpus=Gpus(8)) as running:
        await push(session, running, a_lease(limited(FREE, TierState.DELAY, 10.0)))
        begun = time.monotonic()
        told = await asyncio.gather(*(ask(session, running) for _ in range(5)))
        assert statuses(told) == {200: 5}
        assert 0.39 <= time.monotonic() - begun < 1.0
        await push(session, running, a_lease(limited(FREE, TierState.DELAY, 0.21), revision=2))
        slow = asyncio.create_task(ask(session, running))
        await waiting(session, running, "free", 1)
        await push(session, running, a_lease(FREE, revision=3))
        async with asyncio.timeout(1):
            assert (await slow).status == 200


async def test_reject_refuses_over_rate_at_once(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=0.0), gpus=Gpus(8)) as running:
        await push(session, running, a_lease(limited(FREE, TierState.REJECT, 0.1, why="Overloaded")))
        told = [await ask(session, running) for _ in range(3)]
        assert [each.status for each in told] == [200, 503, 503]
        assert (told[1].body["reason"], told[1].body["why"]) == ("over-rate", "Overloaded")
        assert 10 <= int(told[1].headers["retry-after"]) <= 13


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
    pace = Pace(tick=Seconds(0.05), baseline_hold=Seconds(0.5), baseline_ramp=Seconds(0.2))
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
        await asyncio.sleep(0.8)  # the safe rate was held and has grown to no rate: this tier has no maximum
        assert statuses([await ask(session, running) for _ in range(20)]) == {200: 20}
        assert (await report(session, running))["source"] == "Baseline"


async def test_without_a_trusted_gateway_nobody_names_his_own_tier(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=0.0), callers=Callers()) as running:
        await push(session, running, a_lease(limited(FREE, TierState.SUSPEND, 0.0), PLUS))
        assert (await ask(session, running, "plus")).status == 503


async def test_a_tier_named_twice_is_no_tier(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=0.0)) as running:
        await push(session, running, a_lease(limited(FREE, TierState.SUSPEND, 0.0), PLUS))
        reader, writer = await asyncio.open_connection("127.0.0.1", running.data.port)
        writer.write(b"POST /i HTTP/1.1\r\nhost: x\r\nx-meltguard-tier: free\r\nX-Meltguard-Tier: plus\r\n\r\n")
        assert b"503" in await reader.readline()
        writer.close()


async def test_a_user_named_twice_is_nobody(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    async with agent(ImageServer(seconds=0.0), journal=path, journal_names_users=True) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.data.port)
        writer.write(b"POST /i HTTP/1.1\r\nhost: x\r\nx-meltguard-user: a\r\nX-Meltguard-User: ann\r\n\r\n")
        assert b"200" in await reader.readline()
        writer.close()
        assert (await ask(session, running)).status == 200
    assert [JournalEntry.parse(line).user for line in path.read_text().splitlines()] == ["", "ann"]


async def test_a_client_that_reads_slowly_holds_no_gpu(session: aiohttp.ClientSession) -> None:
    async def large(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(30):
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    callers = Callers(trust_gateway=True, read_within=Seconds(1.0))
    async with agent(large, callers=callers) as running:
        with contextlib.ExitStack() as stack:
            for number in range(3):
                sock = stack.enter_context(socket.socket())
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)  # the kernel must not read for it
                sock.connect(("127.0.0.1", running.data.port))
                sock.send(b"POST /i HTTP/1.1\r\nhost: x\r\n\r\n")
                await until(lambda done=number + 1: made(running, done))
            async with asyncio.timeout(0.9):
                assert (await ask(session, running)).status == 200
            await asyncio.sleep(1.2)
            assert await asyncio.to_thread(all_bytes, sock) < 3_000_000  # it was given up


def all_bytes(sock: socket.socket) -> int:
    size = 0
    with contextlib.suppress(ConnectionError):
        while piece := sock.recv(65_536):
            size += len(piece)
    return size


async def made(running: ServingAgent, images: int) -> bool:
    report = running.agent.report()
    return report.in_flight == 0 and report.units_done == images


async def test_a_slow_upload_holds_no_gpu(session: aiohttp.ClientSession) -> None:
    callers = Callers(trust_gateway=True, body_within=Seconds(0.5))
    async with agent(ImageServer(seconds=0.0), callers=callers) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.data.port)
        writer.write(b"POST /i HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\n\r\n" + b"x" * 500_000)
        await asyncio.sleep(0.2)
        assert running.agent.report().in_flight == 0
        assert (await ask(session, running)).status == 200
        assert b"408" in await reader.readline()
        writer.close()


async def test_health_and_models_need_no_admission(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=0.0), callers=Callers(default_tier=TierName("free"))) as running:
        await push(session, running, a_lease(limited(FREE, TierState.SUSPEND, 0.0)))
        async with session.get(f"http://127.0.0.1:{running.data.port}/healthz") as answer:
            assert answer.status == 200


async def test_an_app_that_fails_gives_its_slot_back(session: aiohttp.ClientSession) -> None:
    async def failing(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("out of memory")

    async with agent(failing) as running:
        assert statuses([await ask(session, running) for _ in range(5)]) == {500: 5}
        body = await report(session, running)
        assert (body["inFlight"], body["inFlightUnits"], body["unitsDone"]) == (0, 0.0, 0.0)


async def test_an_image_that_never_ends_is_ended(session: aiohttp.ClientSession) -> None:
    pace = Pace(longest_image=Seconds(0.2))
    async with agent(ImageServer(seconds=60.0), pace=pace) as running:
        assert (await ask(session, running)).status == 504
        assert (await report(session, running))["inFlight"] == 0


async def test_at_the_end_images_are_finished_and_the_waiting_told(session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(seconds=0.5)
    async with agent(image_server) as running:
        first = asyncio.create_task(ask(session, running))
        await image_server.began.wait()
        second = asyncio.create_task(ask(session, running))
        await waiting(session, running, "default", 1)
    told = await second
    assert (told.status, told.body["reason"]) == (503, "agent-stopping")
    assert "retry-after" in told.headers
    assert (await first).status == 200


async def test_a_retry_is_no_new_demand(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=0.0)) as running:
        await push(session, running, a_lease(limited(FREE, TierState.SUSPEND, 0.0)))
        for _ in range(3):
            await ask(session, running, headers={"Idempotency-Key": "k1"}, json={"n": 2})
        tier = (await report(session, running))["tiers"]["free"]
        assert (tier["offered"], tier["offeredUnits"], tier["refused"]) == (1, 2.0, {"tier-suspended": 3})


async def test_the_journal_tells_each_request(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    async with agent(ImageServer(seconds=0.01), journal=path) as running:
        await push(session, running, a_lease(limited(FREE, TierState.REJECT, 0.01), epoch=2, revision=5))
        await ask(session, running, json={"n": 1, "size": "512x512"})
        await ask(session, running)
    entries = [JournalEntry.parse(line) for line in path.read_text().splitlines()]
    assert [(each.verdict, each.reason, each.status, each.delivered) for each in entries] == [
        ("admitted", "", 200, True),
        ("refused", "over-rate", 503, False),
    ]
    first = entries[0]
    assert (first.tier, first.units, first.images, first.source) == ("free", 0.25, 1, "Lease")
    assert (first.epoch, first.revision, first.state, first.rate) == (2, 5, "Reject", 0.01)
    assert first.took >= 0.01
    assert first.user == entries[1].user != "ann"


async def test_a_websocket_is_closed_unanswered() -> None:
    image_server = ImageServer()
    async with agent(image_server) as running:
        guarded = AdmissionMiddleware(image_server, running.agent.admission, Callers(), Pace())
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        await guarded({"type": "websocket", "path": "/ws", "headers": []}, receive, send)
        assert sent == [{"type": "websocket.close", "code": 1008}]
    assert image_server.most == 0
