"""Clients that people use obey what the agent answers: OpenAI's Python SDK, and aiohttp under tenacity."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import openai
import pytest
import tenacity

from meltguard.agent.asgi import Answer, Receive, Scope, Send
from meltguard.agent.server import ServingAgent
from meltguard.agent.settings import Callers
from meltguard.api.limit_document import TierState
from support.agent_requests import agent, report, statuses
from support.agents import FREE, Told, a_lease, ask, limited, push

IMAGE = {"created": 1, "data": [{"b64_json": "aW1hZ2U="}]}
OPENAI = Callers(trust_gateway=True, openai_fields=True)
PER_SECOND = limited(FREE, TierState.REJECT, 1.0, message="Free images are limited while demand is high.")
PER_MINUTE = PER_SECOND.model_copy(update={"rate": 0.1})
"""Six: so few that a machine that stands still in between makes no second one possible."""


async def images(_scope: Scope, _receive: Receive, send: Send) -> None:
    await Answer(status=200, body=json.dumps(IMAGE).encode()).send(send)


@asynccontextmanager
async def a_client(running: ServingAgent, retries: int) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{running.data.port}/v1",
        api_key="nobody-reads-this",
        max_retries=retries,
        default_headers={"X-Meltguard-Tier": "free", "X-Meltguard-User": "ann"},
    ) as client:
        yield client


async def test_the_openai_sdk_waits_as_long_as_it_is_told_and_succeeds(session: aiohttp.ClientSession) -> None:
    async with agent(images, callers=OPENAI) as running, a_client(running, retries=5) as client:
        await push(session, running, a_lease(PER_SECOND))
        begun = time.monotonic()
        for _ in range(3):
            made = await client.images.generate(prompt="a fox")
            assert made.data is not None
            assert made.data[0].b64_json == "aW1hZ2U="
        assert time.monotonic() - begun >= 2.0
        refused = (await report(session, running))["tiers"]["free"]["refused"]["over-rate"]
        assert 1 <= refused <= 2  # at most once for each wait: it neither came early nor gave up


async def test_the_openai_sdk_succeeds_after_a_limit_lifts(session: aiohttp.ClientSession) -> None:
    async with agent(images, callers=OPENAI) as running, a_client(running, retries=2) as client:
        await push(session, running, a_lease(limited(FREE, TierState.REJECT, 0.5, burst=1.0)))
        assert (await client.images.generate(prompt="a fox")).data
        waiting = asyncio.create_task(client.images.generate(prompt="a fox"))
        await asyncio.sleep(0.3)
        await push(session, running, a_lease(FREE, revision=2))
        assert (await waiting).data


async def test_the_openai_sdk_sees_limits_and_the_problem(session: aiohttp.ClientSession) -> None:
    async with agent(images, callers=OPENAI) as running, a_client(running, retries=0) as client:
        await push(session, running, a_lease(PER_MINUTE.model_copy(update={"shed_status": 429})))
        made = await client.images.with_raw_response.generate(prompt="a fox")
        assert made.headers["x-ratelimit-limit-requests"] == "6"
        assert made.headers["x-ratelimit-remaining-requests"] == "0"
        assert made.headers["ratelimit-policy"] == '"images-rate";q=6;w=60'
        with pytest.raises(openai.RateLimitError) as refused:
            await client.images.generate(prompt="a fox")
        answer = refused.value.response
        assert answer.headers["x-ratelimit-reset-requests"] in {f"{seconds}s" for seconds in range(1, 11)}
        assert int(answer.headers["retry-after"]) >= 1
        problem: Any = answer.json()
        assert problem["type"].endswith("#temporary-reduced-capacity")
        assert (problem["reason"], problem["tier"]) == ("over-rate", "free")
        assert problem["message"] == "Free images are limited while demand is high."


async def test_without_the_option_there_are_no_openai_fields(session: aiohttp.ClientSession) -> None:
    async with agent(images) as running:
        await push(session, running, a_lease(PER_SECOND))
        told = await ask(session, running)
        assert told.headers["ratelimit"] == '"images-rate";r=0;t=1'
        assert not [name for name in told.headers if name.startswith("x-ratelimit")]


class Refused(Exception):
    """Not an image."""

    def __init__(self, told: Told) -> None:
        super().__init__(told.status)
        self.after = float(told.headers["retry-after"])


def as_told(state: tenacity.RetryCallState) -> float:
    """What a client of tenacity writes, to wait for as long as it was told."""
    failure = state.outcome.exception() if state.outcome is not None else None
    return failure.after if isinstance(failure, Refused) else 1.0


async def test_tenacity_clients_that_obey_all_succeed(session: aiohttp.ClientSession) -> None:
    tries: list[Told] = []

    async with agent(images) as running:
        await push(session, running, a_lease(limited(FREE, TierState.REJECT, 2.0, burst=1.0)))

        @tenacity.retry(
            retry=tenacity.retry_if_exception_type(Refused), wait=as_told, stop=tenacity.stop_after_delay(300)
        )
        async def one(user: str) -> Told:
            tries.append(told := await ask(session, running, user=user))
            if told.status != 200:
                raise Refused(told)
            return told

        told = await asyncio.gather(*(one(f"user-{number}") for number in range(6)))
        assert statuses(told) == {200: 6}
        assert len(tries) <= 6 * 6
