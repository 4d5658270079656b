"""A real Envoy sends less to a slow server and to a hot one, by what their agents report."""

import asyncio
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from meltguard.agent.server import ServingAgent
from meltguard.api.limit_document import TierState
from meltguard.core.units import PodUid
from support.agent_requests import agent
from support.agents import FREE, PLUS, a_lease, ask, limited, look, push
from support.envoy import LOAD_HEADER, Balancing, envoy
from support.named import Named

REQUESTS = 240
AT_ONCE = 4


async def served(session: aiohttp.ClientSession, port: int) -> Counter[str]:
    """Who answers, with a few requests open at any time."""
    found: Counter[str] = Counter()
    left = iter(range(REQUESTS))

    async def go_on() -> None:
        for _ in left:
            async with session.post(f"http://127.0.0.1:{port}/v1/images", json={"n": 1}) as answer:
                assert answer.status == 200
                assert LOAD_HEADER not in answer.headers
                found[answer.headers["x-server"]] += 1

    await asyncio.gather(*(go_on() for _ in range(AT_ONCE)))
    return found


async def test_envoy_sends_less_to_a_slow_and_to_a_hot_server(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with (
        agent(Named("good", 0.01), pod_uid=PodUid("good")) as good,
        agent(Named("slow", 0.06), pod_uid=PodUid("slow")) as slow,
        agent(Named("hot", 0.01), pod_uid=PodUid("hot")) as hot,
    ):
        for running, heat in ((good, 1.0), (slow, 1.0), (hot, 0.5)):
            uid = running.agent.settings.pod_uid
            assert (await push(session, running, a_lease(pod_uid=uid, heat=heat))).status == 200
        servers = [running.data for running in (good, slow, hot)]
        with envoy(tmp_path, {Balancing.BY_LOAD: servers, Balancing.IN_TURN: servers}, every=0.1) as ports:
            in_turn = await served(session, ports[Balancing.IN_TURN])
            by_load = await served(session, ports[Balancing.BY_LOAD])
        assert max(in_turn.values()) - min(in_turn.values()) <= AT_ONCE
        assert by_load["good"] > by_load["hot"] > by_load["slow"]
        weights = [(await look(session, running, "/v1/load")).body["weight"] for running in (good, hot, slow)]
        assert weights == sorted(weights, reverse=True)


async def first_image(session: aiohttp.ClientSession, running: ServingAgent) -> None:
    """A pod knows its pace from the first image on."""
    assert (await ask(session, running, "plus")).status == 200


@pytest.mark.parametrize("status", [200, 503])
async def test_every_answer_bears_the_agent_s_own_report(session: aiohttp.ClientSession, status: int) -> None:
    async with agent(Named("good", 0.01)) as running:
        await push(session, running, a_lease(limited(FREE, TierState.SUSPEND, 0.0), PLUS))
        await first_image(session, running)
        told = await ask(session, running, "free" if status == 503 else "plus")
        assert told.status == status
        assert told.headers[LOAD_HEADER].startswith("TEXT application_utilization=")
        assert "9e9" not in told.headers[LOAD_HEADER]
