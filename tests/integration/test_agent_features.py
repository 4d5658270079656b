"""A feature that fades: sticky per user, told with its why, and never in the way of who does not use it."""

from collections.abc import Sequence
from dataclasses import replace

import aiohttp

from meltguard.agent.feature_paths import FeaturePaths
from meltguard.agent.server import ServingAgent
from meltguard.agent.settings import Callers
from meltguard.api.limit_document import DocumentKind, SlowedFeature
from support.agent_requests import agent, report
from support.agents import FREE, ImageServer, Told, a_lease, ask, look, push

USERS = [f"user-{number}" for number in range(60)]
SLOWED = SlowedFeature(share=0, cause="level Critical leaves 0%", lifts_when="it is calm")
GATEWAY = Callers(trust_gateway=True)


async def editing(session: aiohttp.ClientSession, running: ServingAgent, user: str, feature: str = "edit") -> Told:
    return await ask(session, running, user=user, headers={"X-Meltguard-Feature": feature})


async def having(session: aiohttp.ClientSession, running: ServingAgent, users: Sequence[str]) -> set[str]:
    return {user for user in users if (await editing(session, running, user)).status == 200}


async def test_fewer_users_have_it_and_the_same_ones_get_it_back(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=0.0), callers=GATEWAY) as running:
        held: list[set[str]] = []
        for revision, share in enumerate((100, 50, 5, 50), start=1):
            await push(session, running, a_lease(FREE, features={"edit": share}, revision=revision, level="Elevated"))
            held.append(await having(session, running, USERS))
    whole, half, few, half_again = held
    assert whole == set(USERS)
    assert few < half < whole
    assert half_again == half


async def test_who_goes_without_is_told_why_and_may_ask_without_it(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=0.0), callers=GATEWAY) as running:
        await push(session, running, a_lease(FREE, features={"edit": 0}, slowed={"edit": SLOWED}, level="Critical"))
        told = await editing(session, running, "ann")
        assert told.status == 503
        assert told.body["reason"] == "feature-slowed"
        assert told.body["why"] == "level Critical leaves 0%"
        assert told.body["liftsWhen"] == "it is calm"
        assert "ask without it" in told.body["detail"]
        assert int(told.headers["retry-after"]) > 0
        assert (await ask(session, running, user="ann")).status == 200
        assert (await editing(session, running, "ann", feature="unknown")).status == 200
        tiers = (await report(session, running))["tiers"]
        assert sum(tier["refused"].get("feature-slowed", 0) for tier in tiers.values()) == 1


async def test_a_path_tells_the_feature_and_no_header_hides_it(session: aiohttp.ClientSession) -> None:
    told_by_path = replace(GATEWAY, feature_paths=FeaturePaths.parse("edit=/v1/images"))
    async with agent(ImageServer(seconds=0.0), callers=told_by_path) as running:
        await push(session, running, a_lease(FREE, features={"edit": 0, "other": 100}, level="Critical"))
        for feature in ("", "other"):
            told = await editing(session, running, "ann", feature)
            assert (told.status, told.body["reason"]) == (503, "feature-slowed")


async def test_shadow_only_counts_it(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=0.0), callers=GATEWAY) as running:
        await push(session, running, a_lease(FREE, kind=DocumentKind.OBSERVE, features={"edit": 0}))
        assert (await editing(session, running, "ann")).status == 200
        metrics = (await look(session, running, "/metrics")).body
        assert 'would_refuse_total{reason="feature-slowed",tier="free"} 1.0' in metrics
