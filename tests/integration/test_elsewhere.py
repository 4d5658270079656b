"""What one pod's line alone keeps out, a real Envoy asks of another pod at once; what a limit keeps out it does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest

from meltguard.agent.refusal import ELSEWHERE
from meltguard.agent.server import ServingAgent
from meltguard.api.limit_document import TierLimit, TierState
from meltguard.core.units import PodUid
from support import envoy
from support.agent_requests import agent, fetched, waiting
from support.agents import FREE, PLUS, ImageServer, a_lease, ask, limited, push
from support.eventually import eventually
from support.named import Named

OPEN = PLUS.model_copy(update={"queue": 1, "max_wait": 60.0})
"""One request may wait for the GPU."""

ASKED = 4


class Pair(NamedTuple):
    """A pod whose line is full, one that has nothing to do, and Envoy before both."""

    full: ServingAgent
    idle: ServingAgent
    port: int


@asynccontextmanager
async def a_pair(session: aiohttp.ClientSession, folder: Path, tier: TierLimit) -> AsyncIterator[Pair]:
    held = asyncio.Event()
    busy = ImageServer(held=held)
    async with agent(busy, pod_uid=PodUid("full")) as full, agent(Named("free", 0.0), pod_uid=PodUid("idle")) as idle:
        await push(session, full, a_lease(OPEN, FREE, pod_uid=PodUid("full")))
        at_work = [asyncio.create_task(ask(session, full, OPEN.name, user=f"user-{number}")) for number in (1, 2)]
        await eventually(lambda: busy.now == 1)
        await waiting(session, full, OPEN.name, 1)
        for running, uid in ((full, "full"), (idle, "idle")):
            await push(session, running, a_lease(tier, FREE, pod_uid=PodUid(uid), revision=2))
        servers = [full.data, idle.data]
        with envoy.envoy(folder, {envoy.Balancing.IN_TURN: servers}, every=1.0, retries=envoy.told_in_docs()) as ports:
            yield Pair(full, idle, ports[envoy.Balancing.IN_TURN])
        held.set()
        assert {told.status for told in await asyncio.gather(*at_work)} == {200}


async def through(session: aiohttp.ClientSession, port: int) -> tuple[int, str]:
    headers = {"x-meltguard-tier": OPEN.name, "x-meltguard-user": "ann"}
    async with session.post(f"http://127.0.0.1:{port}/v1/images", json={"n": 1}, headers=headers) as answer:
        return answer.status, answer.headers.get("x-server", "")


async def test_a_full_line_sends_to_the_pod_that_has_room(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with a_pair(session, tmp_path, OPEN) as pair:
        told = await ask(session, pair.full, OPEN.name, user="ann")
        assert (told.status, told.body["reason"], told.headers[ELSEWHERE]) == (503, "queue-full", "1")
        assert [await through(session, pair.port) for _ in range(ASKED)] == [(200, "free")] * ASKED


@pytest.mark.parametrize("state", [TierState.DELAY, TierState.REJECT])
async def test_a_limited_tier_is_sent_nowhere(session: aiohttp.ClientSession, tmp_path: Path, state: TierState) -> None:
    """It has its share of every pod; who is over it here would take what is another's there."""
    async with a_pair(session, tmp_path, limited(OPEN, state, 0.001, burst=1.0)) as pair:
        assert (await ask(session, pair.idle, OPEN.name, user="ann")).status == 200  # its burst
        told = await ask(session, pair.full, OPEN.name, user="ann")
        assert told.status == 503
        assert ELSEWHERE not in told.headers
        assert {(await through(session, pair.port))[0] for _ in range(ASKED)} == {503}


async def test_what_is_fetched_from_a_place_is_nowhere_else(session: aiohttp.ClientSession) -> None:
    """A proxy that went elsewhere for a refusal that waited here would be told that nothing is there."""
    held = asyncio.Event()
    busy = ImageServer(held=held)
    async with agent(busy) as running:
        await push(session, running, a_lease(OPEN.model_copy(update={"max_wait": 1.0}), FREE))
        working = asyncio.create_task(ask(session, running, OPEN.name))
        await eventually(lambda: busy.now == 1)
        place = await ask(session, running, OPEN.name, headers={"Prefer": "respond-async"})
        assert place.status == 202
        told = await fetched(session, running, place.headers["location"])
        assert (told.status, told.body["reason"]) == (503, "waited-out")
        assert ELSEWHERE not in told.headers
        held.set()
        assert (await working).status == 200
