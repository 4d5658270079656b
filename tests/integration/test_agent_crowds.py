"""Many clients that hold connections and memory of an agent, over real sockets: honest ones still come through."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from meltguard.agent.clients import Trouble
from meltguard.agent.server import CONTROL_CONNECTIONS, CONTROL_CONNECTIONS_OF_ADDRESS, serving
from meltguard.agent.settings import Address, Callers
from meltguard.core.units import Seconds
from support.agents import ImageServer, a_lease, agent_settings, ask, look, push
from support.eventually import eventually, soon


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@asynccontextmanager
async def stalled(address: Address, first: bytes, count: int) -> AsyncIterator[None]:
    """So many connections that send this and no more."""
    opened = [await asyncio.open_connection(address.host, address.port) for _ in range(count)]
    try:
        for _, writer in opened:
            writer.write(first)
        yield
    finally:
        for _, writer in opened:
            writer.close()


UNHURRIED = Callers(trust_gateway=True, head_within=Seconds(600.0), body_within=Seconds(600.0))
"""Nobody is given up for being slow, so that whoever stalls stays."""

STALLED = {
    "nothing": b"",
    "half a head": b"PUT /v1/limits HTTP/1.1\r\n",
    "half a body": b"PUT /v1/limits HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{",
}


@pytest.mark.parametrize("first", STALLED.values(), ids=STALLED)
async def test_a_leader_connects_however_many_connections_stall(session: aiohttp.ClientSession, first: bytes) -> None:
    async with (
        serving(agent_settings(callers=UNHURRIED), ImageServer()) as agent,
        stalled(agent.control, first, CONTROL_CONNECTIONS + 50),
    ):
        for revision in range(1, 6):
            async with aiohttp.ClientSession() as leader, soon():
                assert (await push(leader, agent, a_lease(revision=revision))).status == 200
        metrics = (await look(session, agent, "/metrics")).body
        closed = 'meltguard_agent_clients_turned_away_total{reason="too-many-connections"} '
        (count,) = (float(line.removeprefix(closed)) for line in metrics.splitlines() if line.startswith(closed))
        assert count >= CONTROL_CONNECTIONS + 50 - CONTROL_CONNECTIONS_OF_ADDRESS


async def test_stalled_bodies_are_bounded_and_a_whole_one_still_comes_through(session: aiohttp.ClientSession) -> None:
    most = 4_194_304
    head = b"POST /i HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: 1048576\r\n\r\n"
    async with (
        serving(agent_settings(client_bytes=most), ImageServer(seconds=0.0)) as agent,
        stalled(agent.data, head + b"x" * 700_000, 20),
    ):
        held = agent.agent.admission.clients
        await eventually(lambda: held.troubles[Trouble.BODIES] >= 19)
        assert held.held.kept <= most
        assert (await ask(session, agent, json={"n": 1, "prompt": "y" * 600_000})).status == 200
    assert held.held.kept == 0
