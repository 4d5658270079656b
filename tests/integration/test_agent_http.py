"""What clients do on the wire, and what the agent makes of it, over real sockets."""

import asyncio
import contextlib
import socket
from pathlib import Path

import aiohttp

from meltguard.agent.asgi import Receive, Scope, Send
from meltguard.agent.clients import Trouble
from meltguard.agent.journal import JournalEntry
from meltguard.agent.server import ServingAgent
from meltguard.agent.settings import Callers, Pace
from meltguard.api.limit_document import TierState
from meltguard.core.units import Seconds, TierName
from support.agent_requests import agent, idle, report, statuses, waiting
from support.agents import FREE, PLUS, ImageServer, a_lease, ask, limited, push
from support.eventually import eventually, soon


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


async def test_an_address_is_the_connections_whatever_a_client_says(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    path = tmp_path / "journal.jsonl"
    said = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "True-Client-IP")
    async with agent(ImageServer(seconds=0.0), callers=Callers(), journal=path, journal_names_users=True) as running:
        for number, name in enumerate(said):
            told = await ask(
                session, running, headers={name: f"for=10.9.9.{number}", "X-Forwarded-For": f"10.9.9.{number}"}
            )
            assert told.status == 200
    users = {JournalEntry.parse(line).user for line in path.read_text().splitlines()}
    assert users == {"address 127.0.0.1"}


async def large(_scope: Scope, _receive: Receive, send: Send) -> None:
    """An image that no socket's buffer holds."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(30):
        await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def one_that_does_not_read(stack: contextlib.ExitStack, running: ServingAgent, done: int) -> socket.socket:
    """Once its image, the agent's so-manieth, is made."""
    sock = stack.enter_context(socket.socket())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)  # the kernel must not read for it
    sock.connect(("127.0.0.1", running.data.port))
    sock.send(b"POST /i HTTP/1.1\r\nhost: x\r\n\r\n")
    await eventually(lambda: running.agent.report().units_done == done)
    await idle(running)
    return sock


async def test_clients_that_read_slowly_hold_no_gpu(session: aiohttp.ClientSession) -> None:
    callers = Callers(trust_gateway=True, read_within=Seconds(600.0))
    async with agent(large, callers=callers) as running:
        with contextlib.ExitStack() as stack:
            for number in range(3):
                await one_that_does_not_read(stack, running, number + 1)
            async with soon():
                assert (await ask(session, running)).status == 200


async def test_a_client_that_does_not_read_is_given_up() -> None:
    async with agent(large, callers=Callers(trust_gateway=True, read_within=Seconds(0.5))) as running:
        with contextlib.ExitStack() as stack:
            sock = await one_that_does_not_read(stack, running, 1)
            await eventually(lambda: running.agent.admission.clients.troubles[Trouble.LATE_READER])
            assert await asyncio.to_thread(all_bytes, sock) < 3_000_000


def all_bytes(sock: socket.socket) -> int:
    size = 0
    with contextlib.suppress(ConnectionError):
        while piece := sock.recv(65_536):
            size += len(piece)
    return size


BODY_WITHIN = Seconds(2.0)
"""For a body; who sends it at once may be held up by the machine, but not so long."""


async def test_a_slow_upload_holds_no_gpu(session: aiohttp.ClientSession) -> None:
    callers = Callers(trust_gateway=True, body_within=BODY_WITHIN)
    async with agent(ImageServer(seconds=0.0), callers=callers) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.data.port)
        writer.write(b"POST /i HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\n\r\n" + b"x" * 500_000)
        await asyncio.sleep(0.2)
        assert running.agent.report().in_flight == 0
        assert (await ask(session, running)).status == 200
        assert b"408" in await reader.readline()
        writer.close()


async def a_reader(_scope: Scope, receive: Receive, send: Send) -> None:
    """An image server that reads its request to the end."""
    while (message := await receive()).get("more_body", False):
        pass
    if message["type"] == "http.request":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"image"})


async def drip(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.05)


async def test_a_slow_upload_longer_than_is_read_ahead_holds_no_gpu(session: aiohttp.ClientSession) -> None:
    callers = Callers(trust_gateway=True, body_within=BODY_WITHIN)
    async with agent(a_reader, callers=callers) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.data.port)
        writer.write(b"POST /i HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 9000000\r\n\r\n")
        writer.write(b"x" * 1_500_000)
        await eventually(lambda: running.agent.report().in_flight == 1)
        dripping = asyncio.create_task(drip(writer))
        await idle(running)
        assert b"408" in await reader.readline()
        assert (await ask(session, running)).status == 200
        dripping.cancel()
        writer.close()


async def test_a_long_upload_that_keeps_coming_is_read() -> None:
    async with agent(a_reader) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.data.port)
        writer.write(b"POST /i HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 6000000\r\n\r\n")
        for _ in range(12):
            writer.write(b"x" * 500_000)
            await asyncio.sleep(0.01)
        assert b"200" in await reader.readline()
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
    image_server = ImageServer(held=(held := asyncio.Event()))
    async with agent(image_server) as running:
        first = asyncio.create_task(ask(session, running))
        await image_server.began.wait()
        second = asyncio.create_task(ask(session, running))
        second.add_done_callback(lambda _: held.set())
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
