"""Places behind a real Envoy or NGINX that gives each request to another of two agents: processes of their own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from meltguard.adapters.agent_push import AgentPush
from meltguard.agent.settings import Address
from meltguard.core.units import PodUid
from support.agent_process import AgentProcess, alive
from support.agent_requests import polled
from support.agents import KEY, Told, told_of
from support.envoy import Balancing, envoy
from support.eventually import until
from support.gateways import listens, nginx_in_turn
from support.loopback import answering
from support.peers import PATIENT, a_wide_grant

ANN = {"X-Meltguard-Tier": "free", "X-Meltguard-User": "ann"}
ASYNC = {"Prefer": "respond-async", "Idempotency-Key": "first"}


@dataclass
class Ground:
    """Two agents behind a balancer, and the image server behind both."""

    session: aiohttp.ClientSession
    agents: list[AgentProcess]
    port: int
    made: asyncio.Event

    async def asks(self, method: str, path: str, **headers: str) -> Told:
        """Ask at whichever pod's turn it is."""
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.session.request(method, url, headers={**ANN, **headers}) as answer:
            return await told_of(answer)

    async def passed_on(self) -> list[float]:
        """How many questions each agent had another one answer."""
        told = []
        for agent in self.agents:
            async with self.session.get(f"http://127.0.0.1:{agent.control}/metrics") as answer:
                wanted = 'meltguard_agent_places_passed_on_total{result="answered"} '
                lines = (await answer.text()).splitlines()
                told.append(next(float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted)))
        return told


@contextlib.contextmanager
def balancer(name: str, folder: Path, servers: list[int]) -> Iterator[int]:
    """Requests in turn."""
    if name == "nginx":
        with nginx_in_turn(folder, servers) as port:
            yield port
        return
    with envoy(folder, {Balancing.IN_TURN: [Address("127.0.0.1", port) for port in servers]}, 1.0) as ports:
        yield ports[Balancing.IN_TURN]


@pytest.fixture(params=["envoy", "nginx"])
async def ground(
    request: pytest.FixtureRequest, session: aiohttp.ClientSession, tmp_path: Path
) -> AsyncIterator[Ground]:
    made = asyncio.Event()

    async def image(_request: web.Request) -> web.Response:
        await made.wait()
        return web.Response(body=b"image" * 400_000, content_type="image/png")

    async with contextlib.AsyncExitStack() as stack:
        behind = await stack.enter_async_context(answering(web.post("/i", image), web.get("/healthz", _healthy)))
        push = await stack.enter_async_context(AgentPush(KEY, PATIENT))
        flags = {"upstream": f"http://127.0.0.1:{behind}"}
        agents = [AgentProcess(pod=PodUid(f"pod-{number}"), folder=tmp_path, flags=flags) for number in range(2)]
        await stack.enter_async_context(alive(*agents))
        for agent in agents:
            await push.push(agent.target, a_wide_grant(agent.pod))
        port = stack.enter_context(balancer(request.param, tmp_path, [agent.data for agent in agents]))
        await listens(session, port, tmp_path)
        yield Ground(session, agents, port, made)


async def _healthy(_request: web.Request) -> web.Response:
    return web.Response()


async def test_polls_that_land_anywhere_all_find_their_place(ground: Ground) -> None:
    given = await ground.asks("POST", "/i", **ASYNC)
    assert given.status == 202
    path = given.headers["location"]
    seen = [(await ground.asks("GET", path)).status for _ in range(8)]
    assert seen == [202] * 8
    assert sorted(await ground.passed_on()) == [0.0, 4.0], "every second question landed at the other pod"
    assert (await ground.asks("GET", path, **{"X-Meltguard-User": "bob"})).status == 404
    ground.made.set()
    made = await polled(lambda: ground.asks("GET", path))
    assert (made.status, len(str(made.body))) == (200, 2_000_000)
    assert {(await ground.asks("GET", path)).status for _ in range(2)} == {410}


async def test_events_come_through_from_anywhere(ground: Ground) -> None:
    path = (await ground.asks("POST", "/i", **ASYNC)).headers["location"]
    url, headers = f"http://127.0.0.1:{ground.port}{path}", {**ANN, "Accept": "text/event-stream"}
    async with ground.session.get(url, headers=headers) as one, ground.session.get(url, headers=headers) as other:
        assert [await each.content.readline() for each in (one, other)] == [b"event: running\n"] * 2
        ground.made.set()
        assert all("event: ready" in text for text in [await one.text(), await other.text()])
    assert sum(await ground.passed_on()) == 1.0


async def test_a_pod_that_was_killed_is_told_as_gone(ground: Ground) -> None:
    path = (await ground.asks("POST", "/i", **ASYNC)).headers["location"]
    holder = next(agent for agent in ground.agents if f"/{agent.pod}/" in path)
    await holder.kill()

    async def gone() -> bool:
        told = await ground.asks("GET", path)  # a balancer may try the killed one first
        return told.status == 410 and "same Idempotency-Key" in told.body["detail"]

    await until(gone)
