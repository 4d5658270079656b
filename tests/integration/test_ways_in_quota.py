"""What a request costs that a proxy asked about: drawn when it is let through, settled when its end is told."""

from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from meltguard.agent.server import serving
from meltguard.agent.settings import Callers, DecisionBounds, QuotaSettings, StoreAddress
from meltguard.core.units import Gpus, Seconds
from support.agents import PLUS, a_free_tier, a_lease, agent_settings, push, told_of
from support.quota_agents import BUDGET
from support.valkey import ValkeyServer, valkey_server

HELD = 0.3
ENDS = {
    "made": ("status=200", 2),
    "one of two was blocked": ("status=200&images=1", 1),
    "all were blocked": ("status=200&images=0", 0),
    "the image server failed": ("status=500", 0),
    "nobody tells": (None, 2),
}


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    with valkey_server(tmp_path) as server:
        yield server


@pytest.mark.parametrize(("end", "cost"), ENDS.values(), ids=ENDS)
async def test_the_end_settles_what_the_decision_drew(
    valkey: ValkeyServer, session: aiohttp.ClientSession, end: str | None, cost: int
) -> None:
    quota = QuotaSettings(store=StoreAddress(url=valkey.url), budget=BUDGET)
    bounds = DecisionBounds(held_within=Seconds(HELD if end is None else 60.0))
    callers = Callers(trust_gateway=True, assumed_images=2)
    settings = agent_settings(quota=quota, gpus=Gpus(1), decisions=bounds, callers=callers)
    async with serving(settings, None) as running:
        await push(session, running, a_lease(a_free_tier(images=4), PLUS))
        base = f"http://127.0.0.1:{running.data.port}/meltguard"
        told = {"X-Forwarded-Uri": "/v1/images", "X-Meltguard-Tier": "free", "X-Meltguard-User": "ann"}
        async with session.get(f"{base}/forward-auth", headers=told) as answer:
            granted = await told_of(answer)
        assert granted.status == 200
        if end is not None:
            async with session.post(f"{base}/grants/{granted.headers['x-meltguard-grant']}?{end}") as answer:
                assert answer.status == 204
        async with session.get(f"{base}/forward-auth", headers=told) as answer:  # waits for the slot where nobody tells
            second = await told_of(answer)
        assert second.status == 200
        assert f"r={4 - cost - 2};" in second.headers["ratelimit"]
