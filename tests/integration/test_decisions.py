"""The decision endpoint without a gateway: who may ask, how long a slot is held, who tells a request's end."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from meltguard.agent.server import ServingAgent, serving
from meltguard.agent.server_words import ServerKind
from meltguard.agent.settings import Address, Callers, DecisionBounds
from meltguard.api.limit_document import QuotaRule, TierState
from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput
from support.agents import FREE, PLUS, Told, a_lease, agent_settings, limited, look, push, told_of
from support.telling_servers import serving_words, vllm

WORD = "what only the proxy knows"
SLOW = PLUS.model_copy(update={"max_wait": 30.0})
BOUNDS = DecisionBounds(held_within=Seconds(60.0))
ASSUMING = Callers(trust_gateway=True, assumed_images=1)


@asynccontextmanager
async def deciding(bounds: DecisionBounds, **changes: Any) -> AsyncIterator[ServingAgent]:
    async with serving(agent_settings(decisions=bounds, **changes), None) as running:
        yield running


def assuming(**changes: Any) -> AbstractAsyncContextManager[ServingAgent]:
    return deciding(BOUNDS, callers=ASSUMING, **changes)


async def decision(session: aiohttp.ClientSession, running: ServingAgent, **headers: str) -> Told:
    """Ask as Traefik's forwardAuth does: a GET, with the request told in X-Forwarded-*."""
    told = {
        "X-Forwarded-Method": "POST",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "images.example",
        "X-Forwarded-Uri": "/v1/images?a=b",
        "X-Forwarded-For": "192.0.2.7",
        "X-Meltguard-Tier": "plus",
    }
    url = f"http://127.0.0.1:{running.data.port}/meltguard/forward-auth"
    async with session.get(url, headers={**told, **headers}) as answer:
        return await told_of(answer)


async def test_whoever_knows_the_grant_tells_the_end_once(session: aiohttp.ClientSession) -> None:
    async with assuming() as running:
        await push(session, running, a_lease(FREE, PLUS))
        for number, verb in enumerate(("POST", "GET"), start=1):
            grant = (await decision(session, running)).headers["x-meltguard-grant"]
            assert await told_end(session, running, grant, verb) == 204
            assert await told_end(session, running, grant, verb) == 404
            assert running.agent.report().units_done == number
        assert await told_end(session, running, "none", "DELETE") == 405


async def told_end(session: aiohttp.ClientSession, running: ServingAgent, grant: str, verb: str) -> int:
    url = f"http://127.0.0.1:{running.data.port}/meltguard/grants/{grant}?status=200&images="
    async with session.request(verb, url) as answer:
        return answer.status


async def test_a_slot_whose_request_the_image_server_has_no_more_is_free_again(session: aiohttp.ClientSession) -> None:
    """Nobody tells the end, and the bound is far: two looks at a server that knows its queue are enough."""
    async with (
        serving_words(ServerKind.VLLM) as (teller, words),
        deciding(BOUNDS, server=words, callers=ASSUMING) as running,
    ):
        teller.text = vllm(running=1)
        await push(session, running, a_lease(FREE, SLOW))
        assert (await decision(session, running)).status == 200
        second = asyncio.create_task(decision(session, running))
        await teller.asked(3)
        assert running.agent.report().in_flight == 1, "the server has it"
        assert not second.done()
        teller.text = vllm(running=0)
        assert (await second).status == 200
        assert running.agent.admission.lost_slots.untold == 1


async def test_a_server_that_does_not_tell_what_runs_frees_nothing(session: aiohttp.ClientSession) -> None:
    async with (
        serving_words(ServerKind.TRITON) as (teller, words),
        deciding(BOUNDS, server=words, callers=ASSUMING) as running,
    ):
        teller.text = teller.text.replace("} 3", "} 0").replace("} 1\n", "} 0\n")
        await push(session, running, a_lease(FREE, SLOW))
        assert (await decision(session, running)).status == 200
        await teller.asked(4)
        assert running.agent.report().in_flight == 1


async def test_a_slot_whose_end_nobody_tells_is_free_after_the_bound(session: aiohttp.ClientSession) -> None:
    async with deciding(DecisionBounds(held_within=Seconds(2.0)), callers=ASSUMING) as running:
        await push(session, running, a_lease(FREE, SLOW))
        asked = await asyncio.gather(*(decision(session, running) for _ in range(3)))
        assert [told.status for told in asked] == [200, 200, 200]
        assert len({told.headers["x-meltguard-grant"] for told in asked}) == 3
        report = running.agent.report()
        assert report.tiers["plus"].waited == 2
        assert report.units_done == 0  # nobody said that an image was made
        metrics = (await look(session, running, "/metrics")).body
        assert re.search(r"^meltguard_agent_ends_untold_total [23]\.0$", metrics, re.MULTILINE), (
            "the third's may be over"
        )


async def test_traefiks_question_is_answered_with_the_refusal_itself(session: aiohttp.ClientSession) -> None:
    async with assuming() as running:
        await push(session, running, a_lease(FREE, limited(PLUS, TierState.SUSPEND, 0.0)))
        refused = await decision(session, running)
        assert (refused.status, refused.body["reason"]) == (503, "tier-suspended")
        assert "retry-after" in refused.headers
        assert (await decision(session, running, **{"X-Forwarded-Uri": "/healthz"})).status == 200
        assert (await decision(session, running, **{"X-Forwarded-Uri": "/healthz/../v1/images"})).status == 503
        assert (await decision(session, running, **{"X-Forwarded-Uri": ""})).status == 400


async def test_a_quota_is_not_spent_on_a_body_that_nobody_read(session: aiohttp.ClientSession) -> None:
    free = FREE.model_copy(update={"quota": QuotaRule(images=3)})
    async with deciding(DecisionBounds()) as running:
        await push(session, running, a_lease(free, PLUS))
        refused = await decision(session, running, **{"X-Meltguard-Tier": "free"})
        assert (refused.status, refused.body["reason"]) == (413, "cost-unknown")


async def test_only_a_proxy_that_knows_the_secret_may_ask(session: aiohttp.ClientSession) -> None:
    async with deciding(DecisionBounds(secret=WORD), callers=ASSUMING) as running:
        assert (await decision(session, running)).status == 403
        assert (await decision(session, running, **{"X-Meltguard-Proxy-Secret": "s2"})).status == 403
        assert (await decision(session, running, **{"X-Meltguard-Proxy-Secret": WORD})).status == 200


async def test_a_port_that_anyone_reaches_needs_the_secret() -> None:
    with pytest.raises(InvalidInput, match="MELTGUARD_PROXY_SECRET"):
        async with deciding(DecisionBounds(), listen=Address("0.0.0.0", 0)):
            pass
