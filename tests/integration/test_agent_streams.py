"""What streams through the reverse proxy: WebSockets, server-sent events, images larger than memory should bear."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from meltguard.agent.proxy import proxying
from meltguard.agent.server import ServingAgent, serving
from meltguard.agent.settings import Callers
from meltguard.api.limit_document import QuotaRule, TierState
from support.agent_process import AgentProcess, alive
from support.agent_requests import idle, report, waiting
from support.agents import FREE, PLUS, a_lease, agent_settings, limited, push
from support.eventually import PATIENCE, soon
from support.loopback import answering
from support.valkey import free_port

MEBIBYTE = 1_048_576
LARGE = 200 * MEBIBYTE
PIECE = b"x" * 65_536
GROWTH = 64 * MEBIBYTE  # of the agent's memory, at most, for 200 MiB in and 200 MiB out


@dataclass
class Streams:
    """An image server whose answers come in pieces."""

    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    handshakes: list[dict[str, str]] = field(default_factory=list)

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """Answer each message by itself."""
        self.handshakes.append({name.lower(): value for name, value in request.headers.items()})
        answer = web.WebSocketResponse(protocols=("images.v1",))
        await answer.prepare(request)
        async for message in answer:
            if message.type is aiohttp.WSMsgType.TEXT and message.data == "close":
                await answer.close(code=4001)
            elif message.type is aiohttp.WSMsgType.TEXT and message.data == "break off":
                assert request.transport is not None
                request.transport.abort()
            elif message.type is aiohttp.WSMsgType.TEXT:
                await answer.send_str(message.data)
            elif message.type is aiohttp.WSMsgType.BINARY:
                await answer.send_bytes(message.data)
        self.cancelled.set()
        return answer

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Send an event, and the next when told; then for ever nothing."""
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b"data: step 1\n\n")
        await self.go_on.wait()
        await answer.write(b"data: step 2\n\n")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return answer

    async def large(self, request: web.Request) -> web.StreamResponse:
        """Take as much as comes and send as much back."""
        taken = 0
        async for piece in request.content.iter_any():
            taken += len(piece)
        answer = web.StreamResponse(headers={"content-length": str(taken), "content-type": "image/png"})
        await answer.prepare(request)
        for _ in range(taken // len(PIECE)):
            await answer.write(PIECE)
        return answer


@asynccontextmanager
async def upstream(streams: Streams) -> AsyncIterator[str]:
    routes = web.get("/ws", streams.socket), web.get("/events", streams.events), web.post("/large", streams.large)
    async with answering(*routes, handler_cancellation=True) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def streams() -> Streams:
    return Streams()


@pytest.fixture
async def running(streams: Streams) -> AsyncIterator[ServingAgent]:
    async with upstream(streams) as url, proxying(url) as proxy, serving(agent_settings(), proxy) as agent:
        yield agent


def at(running: ServingAgent, path: str) -> str:
    return f"http://127.0.0.1:{running.data.port}{path}"


async def test_a_websocket_passes_both_ways_and_holds_one_slot(
    running: ServingAgent, session: aiohttp.ClientSession, streams: Streams
) -> None:
    await push(session, running, a_lease(FREE, PLUS))
    headers = {"X-Meltguard-Tier": "plus", "X-Trace": "t1"}
    async with session.ws_connect(at(running, "/ws?a=b"), headers=headers, protocols=("images.v1",)) as socket:
        assert socket.protocol == "images.v1"
        await socket.send_str("hello")
        assert await socket.receive_str(timeout=PATIENCE * 8) == "hello"
        await socket.send_bytes(PIECE * 16)
        assert await socket.receive_bytes(timeout=PATIENCE * 8) == PIECE * 16
        assert streams.handshakes[0]["x-trace"] == "t1"
        assert (await report(session, running))["inFlight"] == 1
        second = asyncio.create_task(session.ws_connect(at(running, "/ws"), headers=headers))
        await waiting(session, running, "plus", 1)
    async with soon():
        await streams.cancelled.wait()
    other = await second
    await other.send_str("close")
    assert (await other.receive(timeout=PATIENCE * 8)).data == 4001
    await idle(running)


async def test_a_server_that_breaks_a_websocket_off_is_told_to_the_client(
    running: ServingAgent, session: aiohttp.ClientSession
) -> None:
    async with session.ws_connect(at(running, "/ws")) as socket:
        await socket.send_str("break off")
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 1001
    await idle(running)


async def test_a_refused_websocket_is_told_why(running: ServingAgent, session: aiohttp.ClientSession) -> None:
    await push(session, running, a_lease(limited(FREE, TierState.SUSPEND, 0.0), PLUS))
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await session.ws_connect(at(running, "/ws"), headers={"X-Meltguard-Tier": "free"})
    assert refused.value.status == 503
    assert refused.value.headers is not None
    assert "retry-after" in refused.value.headers


async def test_a_websocket_gets_no_images_past_a_quota(running: ServingAgent, session: aiohttp.ClientSession) -> None:
    await push(session, running, a_lease(FREE.model_copy(update={"quota": QuotaRule(images=3)}), PLUS))
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await session.ws_connect(at(running, "/ws"), headers={"X-Meltguard-Tier": "free"})
    assert refused.value.status == 413


async def test_a_channel_that_makes_no_images_takes_no_slot(session: aiohttp.ClientSession, streams: Streams) -> None:
    settings = agent_settings(callers=Callers(trust_gateway=True, open_paths=frozenset({"/ws"})))
    async with upstream(streams) as url, proxying(url) as proxy, serving(settings, proxy) as running:
        await push(session, running, a_lease(limited(FREE, TierState.SUSPEND, 0.0), PLUS))
        async with session.ws_connect(at(running, "/ws"), headers={"X-Meltguard-Tier": "free"}) as socket:
            await socket.send_str("progress?")
            assert await socket.receive_str(timeout=PATIENCE * 8) == "progress?"
            assert (await report(session, running))["inFlight"] == 0


async def test_a_websocket_to_a_dead_server_is_closed_and_its_slot_free(session: aiohttp.ClientSession) -> None:
    async with proxying(f"http://127.0.0.1:{free_port()}") as proxy, serving(agent_settings(), proxy) as running:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(at(running, "/ws"))
        await idle(running)
        assert running.agent.report().units_done == 0


async def test_events_pass_as_they_come_and_end_when_the_client_leaves(
    running: ServingAgent, session: aiohttp.ClientSession, streams: Streams
) -> None:
    answer = await session.get(at(running, "/events"))
    assert answer.headers["content-type"] == "text/event-stream"
    async with soon():
        assert await answer.content.readany() == b"data: step 1\n\n"
        streams.go_on.set()
        assert await answer.content.readany() == b"data: step 2\n\n"
        answer.close()
        await streams.cancelled.wait()
    await idle(running)


async def test_a_large_image_streams_both_ways_in_bounded_memory(
    session: aiohttp.ClientSession, streams: Streams, tmp_path: Path
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(LARGE // len(PIECE)):
            yield PIECE

    async with upstream(streams) as url, alive(agent := AgentProcess(folder=tmp_path, flags={"upstream": url})):
        before, got = peak_memory(agent.pid), 0
        async with session.post(f"http://127.0.0.1:{agent.data}/large", data=pieces()) as answer:
            assert answer.status == 200
            async for piece in answer.content.iter_any():
                got += len(piece)
        assert got == LARGE
        assert peak_memory(agent.pid) - before < GROWTH


def peak_memory(pid: int) -> int:
    """Bytes that a process held at most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1_024 for line in lines if line.startswith("VmHWM"))
