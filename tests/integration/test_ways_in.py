"""Envoy, NGINX and Caddy ask the agent before each request: the real programs, on the files that a user pastes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from meltguard.agent.server import ServingAgent, serving
from meltguard.agent.settings import Address, DecisionBounds
from meltguard.api.limit_document import QuotaRule, TierState
from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput
from support.agents import FREE, PLUS, Told, a_lease, agent_settings, limited, look, push, told_of, until
from support.gateways import gateway, listens
from support.valkey import free_port

WORD = "what only the proxy knows"
SLOW = PLUS.model_copy(update={"max_wait": 30.0})


@dataclass
class Images:
    """An image server that shows what reached it, and makes an image when told."""

    asked: list[dict[str, str]] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def image(self, request: web.Request) -> web.Response:
        """Make one."""
        self.asked.append({name.lower(): value for name, value in request.headers.items()})
        self.came.set()
        await self.go_on.wait()
        return web.Response(body=await request.read())


@dataclass
class Ground:
    """A gateway, the agent that it asks, and the image server behind."""

    session: aiohttp.ClientSession
    agent: ServingAgent
    images: Images
    port: int

    async def ask(self, tier: str = "plus", **headers: str) -> Told:
        """Ask for an image through the gateway."""
        named = {"X-Meltguard-Tier": tier, "X-Meltguard-User": "ann", **headers}
        url = f"http://127.0.0.1:{self.port}/v1/images"
        async with self.session.post(url, json={"n": 1}, headers=named) as answer:
            return await told_of(answer)

    async def end(self, grant: str, query: str = "status=200") -> int:
        """Tell the agent that a request has ended."""
        url = f"http://127.0.0.1:{self.agent.data.port}/meltguard/grants/{grant}?{query}"
        async with self.session.post(url) as answer:
            return answer.status

    @property
    def report(self) -> Any:
        """The agent's."""
        return self.agent.agent.report()


async def healthy(_request: web.Request) -> web.Response:
    return web.Response()


@asynccontextmanager
async def image_server(images: Images) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_post("/v1/images", images.image)
    app.router.add_get("/healthz", healthy)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield port
    finally:
        await runner.cleanup()


@pytest.fixture(params=["envoy", "nginx", "caddy"])
async def ground(
    request: pytest.FixtureRequest, session: aiohttp.ClientSession, tmp_path: Path
) -> AsyncIterator[Ground]:
    images = Images()
    settings = agent_settings(decisions=DecisionBounds(held_within=Seconds(60.0), assumed_images=1))
    async with image_server(images) as behind, serving(settings, None) as agent:
        with gateway(request.param, tmp_path, agent.data.port, behind) as port:
            await listens(session, port, tmp_path)
            yield Ground(session, agent, images, port)


async def test_a_refusal_reaches_the_client_as_it_is(ground: Ground) -> None:
    ground.images.go_on.set()
    told_503 = a_lease(limited(FREE, TierState.SUSPEND, 0.0, message="come back at noon"), PLUS)
    await push(ground.session, ground.agent, told_503)
    refused = await ground.ask("free")
    assert (refused.status, refused.body["reason"], refused.body["tier"]) == (503, "tier-suspended", "free")
    assert refused.body["message"] == "come back at noon"
    assert refused.headers["content-type"].startswith("application/problem+json")
    assert int(refused.headers["retry-after"]) >= 1
    told_429 = limited(FREE, TierState.REJECT, 0.01, shed_status=429, burst=1.0)
    await push(ground.session, ground.agent, a_lease(told_429, PLUS, revision=2))
    statuses = [await ground.ask("free") for _ in range(4)]
    last = statuses[-1]
    assert (last.status, last.body["reason"]) == (429, "over-rate")
    assert {"retry-after", "ratelimit"} <= last.headers.keys()
    assert not any("meltguard-grant" in name or "refusal" in name for told in statuses for name in told.headers)


async def test_a_client_speaks_neither_for_the_proxy_nor_for_us(ground: Ground) -> None:
    ground.images.go_on.set()
    await push(ground.session, ground.agent, a_lease(limited(FREE, TierState.SUSPEND, 0.0), PLUS))
    forged = {
        "X-Forwarded-Uri": "/healthz",
        "X-Forwarded-Method": "OPTIONS",
        "X-Original-URI": "/healthz",
        "X-Meltguard-Refusal": "e30=",
        "X-Meltguard-Grant": "mine",
    }
    refused = await ground.ask("free", **forged)
    assert (refused.status, refused.body["reason"]) == (503, "tier-suspended")
    assert (await ground.ask("plus", **forged)).status == 200
    assert [told["x-meltguard-grant"] == "mine" for told in ground.images.asked] == [False]


async def test_a_request_passes_waits_for_its_turn_and_holds_a_slot_until_its_end_is_told(ground: Ground) -> None:
    await push(ground.session, ground.agent, a_lease(FREE, SLOW))
    first = asyncio.create_task(ground.ask())
    await ground.images.came.wait()
    told = ground.images.asked[0]
    assert (told["x-meltguard-tier"], told["x-meltguard-user"]) == ("plus", "ann")
    second = asyncio.create_task(ground.ask())
    await until(lambda: _holds(ground, in_flight=1, waiting=1))
    assert len(ground.images.asked) == 1
    ground.images.go_on.set()
    assert (await first).status == 200
    assert await ground.end(told["x-meltguard-grant"]) == 204
    assert (await second).status == 200
    assert ground.report.units_done == 1
    assert await ground.end(ground.images.asked[1]["x-meltguard-grant"], "status=500") == 204
    assert await ground.end(ground.images.asked[1]["x-meltguard-grant"]) == 404
    await until(lambda: _holds(ground, in_flight=0, waiting=0))
    assert ground.report.units_done == 1


async def test_a_client_that_leaves_its_place_is_not_waited_for(ground: Ground) -> None:
    await push(ground.session, ground.agent, a_lease(FREE, SLOW))
    ground.images.go_on.set()
    await ground.ask()
    headers = {"X-Meltguard-Tier": "plus"}  # without a body: Caddy does not see who leaves before it has read one
    waiting = asyncio.create_task(ground.session.get(f"http://127.0.0.1:{ground.port}/v1/images", headers=headers))
    await until(lambda: _holds(ground, in_flight=1, waiting=1))
    waiting.cancel()
    await until(lambda: _holds(ground, in_flight=1, waiting=0))


async def test_an_agent_that_stops_lets_nobody_in(ground: Ground) -> None:
    ground.images.go_on.set()
    ground.agent.agent.stop()
    refused = await ground.ask()
    assert (refused.status, refused.body["reason"]) == (503, "agent-stopping")
    assert not ground.images.asked


async def _holds(ground: Ground, in_flight: int, waiting: int) -> bool:
    report = ground.report
    return bool((report.in_flight, report.tiers["plus"].waiting) == (in_flight, waiting))


@asynccontextmanager
async def deciding(bounds: DecisionBounds, **changes: Any) -> AsyncIterator[ServingAgent]:
    async with serving(agent_settings(decisions=bounds, **changes), None) as running:
        yield running


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


async def test_a_slot_whose_end_nobody_tells_is_free_after_the_bound(session: aiohttp.ClientSession) -> None:
    async with deciding(DecisionBounds(held_within=Seconds(0.3), assumed_images=1)) as running:
        await push(session, running, a_lease(FREE, PLUS))
        asked = [await decision(session, running) for _ in range(3)]
        assert [told.status for told in asked] == [200, 200, 200]
        assert len({told.headers["x-meltguard-grant"] for told in asked}) == 3
        report = running.agent.report()
        assert report.tiers["plus"].waited == 2
        assert report.units_done == 0  # nobody said that an image was made
        assert "meltguard_agent_ends_untold_total 2.0" in (await look(session, running, "/metrics")).body


async def test_traefiks_question_is_answered_with_the_refusal_itself(session: aiohttp.ClientSession) -> None:
    async with deciding(DecisionBounds(assumed_images=1)) as running:
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
    async with deciding(DecisionBounds(assumed_images=1, secret=WORD)) as running:
        assert (await decision(session, running)).status == 403
        assert (await decision(session, running, **{"X-Meltguard-Proxy-Secret": "s2"})).status == 403
        assert (await decision(session, running, **{"X-Meltguard-Proxy-Secret": WORD})).status == 200


async def test_a_port_that_anyone_reaches_needs_the_secret() -> None:
    with pytest.raises(InvalidInput, match="MELTGUARD_PROXY_SECRET"):
        async with deciding(DecisionBounds(), listen=Address("0.0.0.0", 0)):
            pass
