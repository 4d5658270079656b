"""Daily quotas, exact over several agents and through a real Valkey's troubles."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from meltguard.agent.asgi import App, Receive, Scope, Send
from meltguard.agent.quota_store import hashed
from meltguard.agent.server import ServingAgent, serving
from meltguard.agent.settings import Callers, Pace, QuotaSettings, StoreAddress
from meltguard.api.limit_document import DocumentKind, QuotaRule
from meltguard.core.quota import Period
from meltguard.core.units import Gpus, PodUid, Seconds
from support.agents import PLUS, ImageServer, Told, a_free_tier, a_lease, agent_settings, ask, look, push, until
from support.valkey import ValkeyServer, valkey_server

THREE = a_free_tier(images=3, queue=200)
BUDGET = Seconds(0.5)  # these tests share two cores with others; the default is for a network


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    with valkey_server(tmp_path) as server:
        yield server


@contextlib.asynccontextmanager
async def agents(
    url: str | None, count: int = 1, app: App | None = None, **changes: Any
) -> AsyncIterator[list[ServingAgent]]:
    store, budget = StoreAddress(url=url) if url else None, changes.pop("budget", BUDGET)
    quota = QuotaSettings(store=store, budget=budget, probe_every=Seconds(0.1))
    async with contextlib.AsyncExitStack() as stack:
        running = []
        for number in range(count):
            settings = agent_settings(quota=quota, gpus=Gpus(4), **changes)
            settings = replace(settings, pod_uid=PodUid(f"pod-{number}"))
            running.append(await stack.enter_async_context(serving(settings, app or ImageServer(seconds=0.02))))
        async with aiohttp.ClientSession() as session:
            for number, agent in enumerate(running):
                await push(session, agent, a_lease(THREE, PLUS, pod_uid=f"pod-{number}"))
        yield running


def reasons(told: list[Told]) -> dict[str, int]:
    words = [each.body["reason"] if each.status >= 400 else "made" for each in told]
    return {word: words.count(word) for word in sorted(set(words))}


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
        assert abs(int(told.headers["retry-after"]) - int(match[2])) <= 1
        assert told.body["type"].endswith("#quota-exceeded")
        assert told.body["until"].endswith("T00:00:00Z")


async def test_a_failed_image_costs_nothing(valkey: ValkeyServer, session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(seconds=0.0, status=500)
    async with agents(valkey.url, app=image_server) as (agent,):
        assert [(await ask(session, agent)).status for _ in range(6)] == [500] * 6
        image_server.status = 200
        assert reasons([await ask(session, agent) for _ in range(4)]) == {"daily-quota": 1, "made": 3}


def partly(made: str) -> App:
    """An image server that says how many of its images passed its filter."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"x-meltguard-delivered-images", made.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"images"})

    return app


MADE = {
    "one of three was blocked": ("2", 2),
    "all were blocked": ("0", 0),
    "all were made": ("3", 3),
    "more than were asked for": ("9", 3),
    "no number": ("two", 3),
    "less than none": ("-1", 3),
}


@pytest.mark.parametrize(("made", "cost"), MADE.values(), ids=MADE)
async def test_images_that_were_blocked_cost_nothing(
    valkey: ValkeyServer, session: aiohttp.ClientSession, made: str, cost: int
) -> None:
    async with agents(valkey.url, app=partly(made)) as (agent,):
        told = await ask(session, agent, json={"n": 3})
        assert told.status == 200
        assert told.headers["ratelimit"].startswith(f'"images-daily";r={3 - cost};')
        account = "meltguard:{serving/image-gen}:free:" + hashed("ann")

        async def settled() -> bool:
            return not valkey.client().exists(f"{account}:holds")

        await until(settled)
        assert valkey.client().hget(account, "used") == str(cost)


async def test_an_answer_that_failed_shows_the_allowance_untouched(
    valkey: ValkeyServer, session: aiohttp.ClientSession
) -> None:
    async with agents(valkey.url, app=ImageServer(seconds=0.0, status=500)) as (agent,):
        assert (await ask(session, agent)).headers["ratelimit"].startswith('"images-daily";r=3;')


async def test_a_week_is_told_and_counted_as_one(valkey: ValkeyServer, session: aiohttp.ClientSession) -> None:
    weekly = a_free_tier(queue=200).model_copy(update={"quota": QuotaRule(images=2, per=Period.WEEK)})
    async with agents(valkey.url) as (agent,):
        await push(session, agent, a_lease(weekly, PLUS, pod_uid="pod-0", revision=2))
        told = [await ask(session, agent) for _ in range(3)]
        assert reasons(told) == {"made": 2, "weekly-quota": 1}
        assert told[2].headers["ratelimit-policy"] == '"images-weekly";q=2;w=604800'
        assert told[2].body["detail"] == "the images of this week are used up"
        assert told[2].body["violated-policies"] == ["images-weekly"]


async def test_a_client_that_leaves_before_its_image_pays_nothing(
    valkey: ValkeyServer, session: aiohttp.ClientSession
) -> None:
    image_server = ImageServer(seconds=0.3)
    async with agents(valkey.url, app=image_server) as (agent,):
        leaving = asyncio.create_task(ask(session, agent, json={"n": 3}))
        await image_server.began.wait()
        assert (await ask(session, agent)).body["reason"] == "daily-quota"
        leaving.cancel()

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
        await asyncio.sleep(0.4)
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
    async with agents(valkey.url, app=ImageServer(seconds=0.4)) as (agent,):
        await push(session, agent, a_lease(a_free_tier(max_wait=0.1), PLUS, pod_uid="pod-0", revision=2))
        busy = [asyncio.create_task(ask(session, agent, tier="plus")) for _ in range(4)]
        await asyncio.sleep(0.1)
        told = await asyncio.gather(*(ask(session, agent) for _ in range(3)))
        assert reasons(told) in ({"waited-out": 3}, {"wait-too-long": 3})
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
    image_server = ImageServer(seconds=0.3)
    async with agents(valkey.url, app=image_server) as (agent,):
        image = asyncio.create_task(ask(session, agent, json={"n": 2}))
        await image_server.began.wait()
        valkey.kill()
        assert (await image).status == 200
        valkey.start()
        await store_is(session, agent, "ok")
        assert reasons([await ask(session, agent) for _ in range(2)]) == {"daily-quota": 1, "made": 1}

        async def settled() -> bool:
            return len(valkey.client().hgetall(valkey.client().keys("*:done")[0])) == 2

        await until(settled)


async def test_a_store_that_answers_nothing_holds_nobody_up(
    valkey: ValkeyServer, session: aiohttp.ClientSession
) -> None:
    async with agents(valkey.url, budget=Seconds(0.4)) as (agent,):
        assert (await ask(session, agent)).status == 200
        valkey.freeze()
        async with asyncio.timeout(6):  # twenty times the budget would be 8 s: they are not held up one after the other
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
    image_server = ImageServer(seconds=0.2)
    async with agents(valkey.url, app=image_server) as (agent,):
        image = asyncio.create_task(ask(session, agent))
        await image_server.began.wait()
        valkey.client().config_set("maxmemory", "1")
        assert (await ask(session, agent)).body["reason"] == "quota-store-unavailable"
        assert (await image).status == 200

        async def settled() -> bool:
            return bool(valkey.client().keys("*:done"))

        await until(settled)
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
    image_server = ImageServer(seconds=0.2)
    pace = Pace(longest_image=Seconds(300.0))
    async with agents(valkey.url, app=image_server, pace=pace) as (agent,):
        image = asyncio.create_task(ask(session, agent))
        await image_server.began.wait()
        holds = valkey.client().hgetall(valkey.client().keys("*:holds")[0])
        assert len(holds) == 1
        until_millis = int(next(iter(holds.values())).split(":")[1])
        seconds = until_millis / 1000 - agent.agent._clock.now()
        assert 300 < seconds < 300 + THREE.max_wait + 61
        await image
