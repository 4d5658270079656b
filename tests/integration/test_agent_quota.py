"""Daily quotas, exact over several agents and through a real Valkey's troubles."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from meltguard.agent.asgi import Receive, Scope, Send
from meltguard.agent.server import ServingAgent
from meltguard.agent.settings import Callers, Pace
from meltguard.api.limit_document import DocumentKind
from meltguard.core.units import Seconds
from support.agent_requests import idle
from support.agents import PLUS, ImageServer, a_free_tier, a_lease, ask, look, push
from support.eventually import eventually, soon, until
from support.quota_agents import THREE, agents, reasons
from support.valkey import ValkeyServer, valkey_server


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    with valkey_server(tmp_path) as server:
        yield server


async def store_is(session: aiohttp.ClientSession, agent: ServingAgent, state: str) -> None:
    async def reached() -> bool:
        return bool((await look(session, agent)).body["quotaStore"] == state)

    await until(reached)


async def test_fifty_requests_over_several_agents_share_three_images(
    valkey: ValkeyServer, session: aiohttp.ClientSession
) -> None:
    async with agents(valkey.url, count=4) as running:
        told = await asyncio.gather(*(ask(session, running[number % 4]) for number in range(50)))
        assert reasons(told) == {"daily-quota": 47, "made": 3}
        assert reasons([await ask(session, agent) for agent in running]) == {"daily-quota": 4}
        assert reasons([await ask(session, agent, user="bob") for agent in running]) == {"daily-quota": 1, "made": 3}
        assert reasons([await ask(session, agent, tier="plus") for agent in running]) == {"made": 4}


async def test_answers_tell_what_is_left_and_when_it_begins_anew(
    valkey: ValkeyServer, session: aiohttp.ClientSession
) -> None:
    async with agents(valkey.url) as (agent,):
        left = []
        for _ in range(4):
            told = await ask(session, agent)
            assert told.headers["ratelimit-policy"] == '"images-daily";q=3;w=86400'
            match = re.fullmatch(r'"images-daily";r=(\d);t=(\d+)', told.headers["ratelimit"])
            assert match is not None
            left.append(int(match[1]))
            assert 0 <= int(match[2]) <= 86_400
        assert left == [2, 1, 0, 0]
        assert told.status == 429
        assert -1 <= int(told.headers["retry-after"]) - int(match[2]) <= 61, "the reset, and a little by chance"
        assert told.body["type"].endswith("#quota-exceeded")
        assert told.body["until"].endswith("T00:00:00Z")


async def test_a_failed_image_costs_nothing(valkey: ValkeyServer, session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(seconds=0.0, status=500)
    async with agents(valkey.url, app=image_server) as (agent,):
        assert [(await ask(session, agent)).status for _ in range(6)] == [500] * 6
        image_server.status = 200
        assert reasons([await ask(session, agent) for _ in range(4)]) == {"daily-quota": 1, "made": 3}


async def test_a_client_that_leaves_before_its_image_pays_nothing(
    valkey: ValkeyServer, session: aiohttp.ClientSession
) -> None:
    image_server = ImageServer(held=(held := asyncio.Event()))
    async with agents(valkey.url, app=image_server) as (agent,):
        leaving = asyncio.create_task(ask(session, agent, json={"n": 3}))
        await image_server.began.wait()
        assert (await ask(session, agent)).body["reason"] == "daily-quota"
        leaving.cancel()
        held.set()

        async def given_back() -> bool:
            return (await ask(session, agent)).status == 200

        await until(given_back)
        assert reasons([await ask(session, agent) for _ in range(3)]) == {"daily-quota": 1, "made": 2}


async def test_a_client_that_leaves_with_most_of_its_image_pays(
    valkey: ValkeyServer, session: aiohttp.ClientSession
) -> None:
    async def streaming(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"nearly all of it", "more_body": True})
        await asyncio.sleep(0.2)
        await send({"type": "http.response.body", "body": b"."})

    async with agents(valkey.url, app=streaming) as (agent,):
        url = f"http://127.0.0.1:{agent.data.port}/i"
        headers = {"X-Meltguard-Tier": "free", "X-Meltguard-User": "ann"}
        async with session.post(url, json={"n": 3}, headers=headers) as answer:
            await answer.content.readany()
            answer.close()
        await idle(agent)
        assert (await ask(session, agent)).body["reason"] == "daily-quota"


async def test_a_retry_with_the_same_key_costs_once(valkey: ValkeyServer, session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(seconds=0.1, status=500)
    async with agents(valkey.url, count=2, app=image_server) as running:
        key = {"Idempotency-Key": "k1"}
        assert (await ask(session, running[0], headers=key)).status == 500
        image_server.status = 200
        told = await asyncio.gather(*(ask(session, running[number % 2], headers=key) for number in range(10)))
        assert reasons(told) == {"duplicate-request": 9, "made": 1}
        again = await ask(session, running[1], headers=key)
        assert (again.status, again.body["reason"]) == (409, "duplicate-request")
        told = [await ask(session, running[0], headers={"Idempotency-Key": f"other-{number}"}) for number in range(3)]
        assert reasons(told) == {"daily-quota": 1, "made": 2}


async def test_a_wait_in_vain_costs_nothing(valkey: ValkeyServer, session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(held=asyncio.Event())
    async with agents(valkey.url, app=image_server) as (agent,):
        await push(session, agent, a_lease(a_free_tier(max_wait=0.1), PLUS, pod_uid="pod-0", revision=2))
        busy = [asyncio.create_task(ask(session, agent, tier="plus")) for _ in range(4)]
        await image_server.began.wait()
        told = await asyncio.gather(*(ask(session, agent) for _ in range(3)))
        assert set(reasons(told)) <= {"waited-out", "wait-too-long"}
        image_server.held.set()
        await asyncio.gather(*busy)
        assert reasons([await ask(session, agent) for _ in range(4)]) == {"daily-quota": 1, "made": 3}


async def test_with_the_store_killed_free_is_refused_and_paid_goes_on(
    valkey: ValkeyServer, session: aiohttp.ClientSession
) -> None:
    async with agents(valkey.url, count=2) as running:
        assert (await ask(session, running[0])).status == 200
        valkey.kill()
        told = [await ask(session, agent) for agent in running for _ in range(4)]
        assert reasons(told) == {"quota-store-unavailable": 8}
        assert {each.status for each in told} == {503}
        assert all("retry-after" in each.headers for each in told)
        assert reasons([await ask(session, agent, tier="plus") for agent in running]) == {"made": 2}
        for agent in running:
            await store_is(session, agent, "down")
        valkey.start()  # with what it wrote down
        for agent in running:
            await store_is(session, agent, "ok")
        told = [await ask(session, running[number % 2]) for number in range(4)]
        assert reasons(told) == {"daily-quota": 2, "made": 2}


async def test_images_finished_while_the_store_was_away_are_spent_when_it_is_back(
    valkey: ValkeyServer, session: aiohttp.ClientSession
) -> None:
    image_server = ImageServer(held=(held := asyncio.Event()))
    async with agents(valkey.url, app=image_server) as (agent,):
        image = asyncio.create_task(ask(session, agent, json={"n": 2}))
        await image_server.began.wait()
        valkey.kill()
        held.set()
        assert (await image).status == 200
        valkey.start()
        await store_is(session, agent, "ok")
        assert reasons([await ask(session, agent) for _ in range(2)]) == {"daily-quota": 1, "made": 1}
        await eventually(lambda: [valkey.client().hlen(key) for key in valkey.client().keys("*:done")] == [2])


async def test_a_store_that_answers_nothing_holds_nobody_up(
    valkey: ValkeyServer, session: aiohttp.ClientSession
) -> None:
    async with agents(valkey.url, budget=Seconds(3.0)) as (agent,):
        assert (await ask(session, agent)).status == 200
        valkey.freeze()
        async with soon(10.0):  # twenty times the budget would be 60 s: they are not held up one after the other
            assert reasons([await ask(session, agent) for _ in range(20)]) == {"quota-store-unavailable": 20}
        assert (await ask(session, agent, tier="plus")).status == 200
        valkey.thaw()
        await store_is(session, agent, "ok")

        async def served() -> bool:
            return (await ask(session, agent)).status == 200

        await until(served)
        told = [await ask(session, agent) for _ in range(3)]
        assert reasons(told)["daily-quota"] >= 2


async def test_a_flushed_store_grants_nothing_anew(
    valkey: ValkeyServer, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    async with agents(valkey.url, state_file=state) as (agent,):
        assert reasons([await ask(session, agent) for _ in range(3)]) == {"made": 3}
        valkey.client().flushall()
        told = await ask(session, agent, user="bob")
        assert (told.status, told.body["reason"]) == (503, "quota-store-unavailable")
        assert told.body["until"].endswith("T00:00:00Z")
        async with agents(valkey.url) as (newcomer,):
            assert (await ask(session, newcomer)).body["reason"] == "quota-store-unavailable"
        assert (await ask(session, agent, tier="plus")).status == 200
    valkey.client().flushall()
    async with agents(valkey.url, state_file=state) as (restarted,):
        assert (await ask(session, restarted)).body["reason"] == "quota-store-unavailable"


async def test_a_store_that_forgot_its_scripts_is_taught_again(
    valkey: ValkeyServer, session: aiohttp.ClientSession
) -> None:
    async with agents(valkey.url) as (agent,):
        assert (await ask(session, agent)).status == 200
        valkey.client().script_flush()
        assert reasons([await ask(session, agent) for _ in range(3)]) == {"daily-quota": 1, "made": 2}


async def test_a_store_that_is_full_grants_nothing(valkey: ValkeyServer, session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(held=(held := asyncio.Event()))
    async with agents(valkey.url, app=image_server) as (agent,):
        image = asyncio.create_task(ask(session, agent))
        await image_server.began.wait()
        valkey.client().config_set("maxmemory", "1")
        assert (await ask(session, agent)).body["reason"] == "quota-store-unavailable"
        held.set()
        assert (await image).status == 200
        await eventually(lambda: valkey.client().keys("*:done"))
        valkey.client().config_set("maxmemory", "0")
        await store_is(session, agent, "ok")
        assert reasons([await ask(session, agent) for _ in range(3)]) == {"daily-quota": 1, "made": 2}


async def test_without_a_store_a_quota_is_refused_and_told(session: aiohttp.ClientSession) -> None:
    async with agents(None) as (agent,):
        assert (await ask(session, agent)).body["reason"] == "quota-store-unavailable"
        assert (await look(session, agent)).body["quotaStore"] == "missing"
        await push(session, agent, a_lease(PLUS, pod_uid="pod-0", revision=2))
        assert (await look(session, agent)).body["quotaStore"] == "unused"


async def test_observing_asks_no_store(session: aiohttp.ClientSession) -> None:
    async with agents(None) as (agent,):
        await push(session, agent, a_lease(THREE, kind=DocumentKind.OBSERVE, pod_uid="pod-0", revision=2))
        assert reasons([await ask(session, agent) for _ in range(5)]) == {"made": 5}


async def test_a_body_too_large_to_be_read_buys_no_images(valkey: ValkeyServer, session: aiohttp.ClientSession) -> None:
    async with agents(valkey.url, callers=Callers(trust_gateway=True, peek_bytes=1_000)) as (agent,):
        body = {"init_image": "x" * 2_000, "n": 100}
        told = await ask(session, agent, json=body)
        assert (told.status, told.body["reason"]) == (413, "cost-unknown")
        assert (await ask(session, agent, json=body, headers={"X-Meltguard-Images": "2"})).status == 200
        assert (await ask(session, agent, json={"n": 2})).body["reason"] == "daily-quota"


async def test_an_agent_that_dies_gives_its_users_their_images_back_in_time(
    valkey: ValkeyServer, session: aiohttp.ClientSession
) -> None:
    image_server = ImageServer(held=(held := asyncio.Event()))
    pace = Pace(longest_image=Seconds(300.0))
    async with agents(valkey.url, app=image_server, pace=pace) as (agent,):
        image = asyncio.create_task(ask(session, agent))
        await image_server.began.wait()
        holds = valkey.client().hgetall(valkey.client().keys("*:holds")[0])
        assert len(holds) == 1
        until_millis = int(next(iter(holds.values())).split(":")[1])
        seconds = until_millis / 1000 - agent.agent._clock.now()
        assert 300 < seconds < 300 + THREE.max_wait + 61
        held.set()
        await image
