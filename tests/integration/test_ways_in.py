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
from meltguard.agent.settings import Callers, DecisionBounds
from meltguard.api.limit_document import TierState
from meltguard.core.units import Seconds, TierName
from support.agents import FREE, PLUS, Told, a_lease, agent_settings, limited, push, told_of
from support.eventually import eventually
from support.gateways import gateway, listens
from support.issuer import TIERS, a_key, a_token, issuing, rules
from support.loopback import answering

ISSUERS_KEY = a_key()
BOUNDS = DecisionBounds(held_within=Seconds(60.0))
SLOW = PLUS.model_copy(update={"max_wait": 30.0})


@dataclass
class Images:
    """An image server that shows what reached it, and makes an image when told."""

    asked: list[dict[str, str]] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    async def image(self, request: web.Request) -> web.Response:
        """Make one."""
        self.asked.append({name.lower(): value for name, value in request.headers.items()})
        self.came.set()
        await self.go_on.wait()
        return web.Response(status=self.status, body=await request.read(), headers=self.headers)


@dataclass
class Ground:
    """A gateway, the agent that it asks, and the image server behind."""

    session: aiohttp.ClientSession
    agent: ServingAgent
    images: Images
    port: int

    async def ask(self, tier: str = "plus", **headers: str) -> Told:
        """Ask for an image through the gateway, as ann of this tier."""
        url = f"http://127.0.0.1:{self.port}/v1/images"
        async with self.session.post(url, json={"n": 1}, headers={**bearing(tier), **headers}) as answer:
            return await told_of(answer)

    @property
    def report(self) -> Any:
        """The agent's."""
        return self.agent.agent.report()


async def healthy(_request: web.Request) -> web.Response:
    return web.Response()


@asynccontextmanager
async def image_server(images: Images) -> AsyncIterator[int]:
    async with answering(web.post("/v1/images", images.image), web.get("/healthz", healthy)) as port:
        yield port


def bearing(tier: str) -> dict[str, str]:
    """What ann's login gave her."""
    plan = next(plan for plan, named in TIERS.items() if named == tier)
    return {"Authorization": f"Bearer {a_token(ISSUERS_KEY, tier=plan)}"}


@pytest.fixture(params=["envoy", "nginx", "caddy"])
async def ground(
    request: pytest.FixtureRequest, session: aiohttp.ClientSession, tmp_path: Path
) -> AsyncIterator[Ground]:
    async with grounded(request.param, session, tmp_path) as found:
        yield found


@pytest.fixture(params=["envoy", "nginx"])
async def telling(
    request: pytest.FixtureRequest, session: aiohttp.ClientSession, tmp_path: Path
) -> AsyncIterator[Ground]:
    """Gateways that tell the end of a request themselves."""
    async with grounded(request.param, session, tmp_path) as found:
        yield found


@asynccontextmanager
async def grounded(name: str, session: aiohttp.ClientSession, folder: Path) -> AsyncIterator[Ground]:
    images = Images()
    async with issuing(ISSUERS_KEY) as issuer, image_server(images) as behind:
        settings = agent_settings(
            decisions=BOUNDS,
            callers=Callers(tokens=rules(issuer.url), default_tier=TierName("free"), assumed_images=1),
        )
        async with serving(settings, None) as agent:
            with gateway(name, folder, agent.data.port, behind) as port:
                await listens(session, port, folder)
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
        "X-Meltguard-Tier": "plus",
        "X-Meltguard-User": "root",
        "X_Meltguard_User": "root",
        "X-Meltguard-Images": "0",
    }
    refused = await ground.ask("free", **forged)
    assert (refused.status, refused.body["reason"]) == (503, "tier-suspended")
    assert (await ground.ask("plus", **forged)).status == 200
    told = ground.images.asked[-1]
    assert told["x-meltguard-grant"] != "mine"
    assert (told["x-meltguard-tier"], told["x-meltguard-user"]) == ("plus", "ann")
    assert "x_meltguard_user" not in told
    assert "x-meltguard-images" not in told


async def test_a_request_passes_and_the_next_waits_for_its_slot(ground: Ground) -> None:
    await push(ground.session, ground.agent, a_lease(FREE, SLOW))
    first = asyncio.create_task(ground.ask())
    await ground.images.came.wait()
    second = asyncio.create_task(ground.ask())
    await eventually(lambda: _holds(ground, in_flight=1, waiting=1))
    assert len(ground.images.asked) == 1
    ground.images.go_on.set()
    assert (await first).status == 200
    second.cancel()


async def test_the_gateway_tells_the_end_and_what_it_was(telling: Ground) -> None:
    """Three on one GPU, one after the other, without a word from the image server: nothing waits for the bound."""
    await push(telling.session, telling.agent, a_lease(FREE, SLOW))
    telling.images.go_on.set()
    assert [(await telling.ask()).status for _ in range(3)] == [200, 200, 200]
    await eventually(lambda: _holds(telling, in_flight=0, waiting=0))
    assert telling.report.units_done == 3
    telling.images.status = 500
    assert (await telling.ask()).status == 500
    await eventually(lambda: _holds(telling, in_flight=0, waiting=0))
    assert telling.report.units_done == 3, "a failed image teaches nothing"


async def test_nginx_tells_of_who_leaves_before_the_image_is_made(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Envoy and Caddy tell nothing of a request that is cut off: its slot is free at the bound."""
    async with grounded("nginx", session, tmp_path) as found:
        await push(session, found.agent, a_lease(FREE, SLOW))
        asked = asyncio.create_task(found.ask())
        await found.images.came.wait()
        asked.cancel()
        await eventually(lambda: _holds(found, in_flight=0, waiting=0))
        assert found.report.units_done == 0


async def test_a_client_that_leaves_its_place_is_not_waited_for(ground: Ground) -> None:
    await push(ground.session, ground.agent, a_lease(FREE, SLOW))
    first = asyncio.create_task(ground.ask())
    await ground.images.came.wait()
    headers = bearing("plus")  # without a body: Caddy does not see who leaves before it has read one
    waiting = asyncio.create_task(ground.session.get(f"http://127.0.0.1:{ground.port}/v1/images", headers=headers))
    await eventually(lambda: _holds(ground, in_flight=1, waiting=1))
    waiting.cancel()
    await eventually(lambda: _holds(ground, in_flight=1, waiting=0))
    ground.images.go_on.set()
    assert (await first).status == 200


async def test_an_agent_that_stops_lets_nobody_in(ground: Ground) -> None:
    ground.images.go_on.set()
    ground.agent.agent.stop()
    refused = await ground.ask()
    assert (refused.status, refused.body["reason"]) == (503, "agent-stopping")
    assert not ground.images.asked


def _holds(ground: Ground, in_flight: int, waiting: int) -> bool:
    report = ground.report
    return bool((report.in_flight, report.tiers["plus"].waiting) == (in_flight, waiting))
