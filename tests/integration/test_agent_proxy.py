"""The reverse proxy behind the admission, before a real upstream."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from meltguard.agent.proxy import proxying
from meltguard.agent.server import ServingAgent, serving
from meltguard.agent.settings import Callers
from meltguard.errors import InvalidInput
from support.agent_requests import idle
from support.agents import agent_settings
from support.eventually import soon
from support.loopback import answering
from support.valkey import free_port


@dataclass
class Upstream:
    """An image server that shows what reached it."""

    headers: dict[str, str] = field(default_factory=dict)
    path: str = ""
    pieces: list[bytes] = field(default_factory=list)
    first_piece: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def echo(self, request: web.Request) -> web.StreamResponse:
        """Take the body piece by piece."""
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        self.path = request.raw_path
        async for piece in request.content.iter_any():
            self.pieces.append(piece)
            self.first_piece.set()
        headers = {"X-Model": "m1", "Connection": "X-Private", "X-Private": "1", "X-Name": "R\u00f6ntgen \u65e5\u672c"}
        answer = web.Response(status=201, body=b"".join(self.pieces), headers=headers)
        answer.set_cookie("a", "1")
        answer.set_cookie("b", "2")
        return answer

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send one piece, and the next when told."""
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"one")
        await self.go_on.wait()
        await answer.write(b"two")
        return answer

    async def slow(self, _request: web.Request) -> web.StreamResponse:
        """Work until cancelled."""
        self.first_piece.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return web.Response()

    async def broken(self, request: web.Request) -> web.StreamResponse:
        """Break the answer off."""
        answer = web.StreamResponse(headers={"content-length": "100"})
        await answer.prepare(request)
        await answer.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return answer


@contextlib.asynccontextmanager
async def upstream_server(upstream: Upstream) -> AsyncIterator[str]:
    paths = ("echo", "stream", "slow", "broken")
    routes = [web.route("*", f"/base/{path}", getattr(upstream, path)) for path in paths]
    async with answering(*routes, handler_cancellation=True) as port:
        yield f"http://127.0.0.1:{port}/base"


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def running(upstream: Upstream) -> AsyncIterator[ServingAgent]:
    async with (
        upstream_server(upstream) as url,
        proxying(url) as proxy,
        serving(agent_settings(callers=Callers(open_paths=frozenset())), proxy) as agent,
    ):
        yield agent


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def url(agent: ServingAgent, path: str) -> URL:
    return URL(f"http://127.0.0.1:{agent.data.port}{path}", encoded=True)


async def test_a_request_and_its_answer_pass_unchanged(
    running: ServingAgent, session: aiohttp.ClientSession, upstream: Upstream
) -> None:
    headers = {"X-Trace": "t1", "Connection": "X-Hop, keep-alive", "X-Hop": "1", "TE": "trailers"}
    async with session.post(url(running, "/echo?a=%2F&b=c+d"), data=b"prompt", headers=headers) as answer:
        body = await answer.read()
        assert (answer.status, body) == (201, b"prompt")
        assert answer.headers["x-model"] == "m1"
        assert answer.headers.getall("set-cookie") == ["a=1; Path=/", "b=2; Path=/"]
        assert "x-private" not in answer.headers
        assert answer.headers["x-name"] == "R\u00f6ntgen \u65e5\u672c", "byte by byte, whatever the bytes mean"
    assert upstream.path == "/base/echo?a=%2F&b=c+d"
    assert upstream.headers["x-trace"] == "t1"
    assert {"x-hop", "te"}.isdisjoint(upstream.headers)


async def test_a_body_is_passed_on_while_it_comes(
    running: ServingAgent, session: aiohttp.ClientSession, upstream: Upstream
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000  # more than the agent reads ahead
        async with soon():
            await upstream.first_piece.wait()
        yield b"rest"

    async with session.post(url(running, "/echo"), data=body()) as answer:
        assert len(await answer.read()) == 2_000_004


async def test_an_answer_is_passed_on_while_it_comes(
    running: ServingAgent, session: aiohttp.ClientSession, upstream: Upstream
) -> None:
    async with session.get(url(running, "/stream")) as answer:
        assert await answer.content.readany() == b"one"
        upstream.go_on.set()
        assert await answer.content.read() == b"two"


@pytest.mark.parametrize("body", [None, b'{"n": 1}', b"x" * 200_000])
async def test_the_upstreams_work_ends_when_the_client_leaves(
    running: ServingAgent, session: aiohttp.ClientSession, upstream: Upstream, body: bytes | None
) -> None:
    task = asyncio.create_task(session.post(url(running, "/slow"), data=body).__aenter__())
    await upstream.first_piece.wait()
    task.cancel()
    async with soon():
        await upstream.cancelled.wait()
    await idle(running)


async def test_an_answer_that_breaks_off_is_not_passed_off_as_whole(
    running: ServingAgent, session: aiohttp.ClientSession
) -> None:
    async with session.get(url(running, "/broken")) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert running.agent.report().units_done == 0


async def test_a_dead_upstream_is_a_bad_gateway(session: aiohttp.ClientSession) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    async with proxying(dead) as proxy, serving(agent_settings(), proxy) as running:
        async with session.post(url(running, "/i"), json={}) as answer:
            assert (answer.status, answer.content_type) == (502, "application/problem+json")
        await idle(running)


@pytest.mark.parametrize("text", ["", "image-server:8000", "ftp://x", "http://", "http://x/?a=b"])
async def test_an_upstream_that_is_no_server_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="write http://HOST:PORT"):
        async with proxying(text):
            pass


async def test_a_value_that_is_not_ascii_goes_on_as_it_came(running: ServingAgent, upstream: Upstream) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.data.port)
    writer.write("GET /echo HTTP/1.1\r\nHost: a\r\nX-Author: José\r\n\r\n".encode())
    assert b" 201 " in await reader.readline()
    writer.close()
    assert upstream.headers["x-author"] == "José"
