"""A fake and its real adapter, for every suite that both must pass."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from meltguard.agent.quota_store import QuotaStore
from meltguard.agent.quota_valkey import ValkeyQuotaStore
from meltguard.agent.settings import StoreAddress
from meltguard.clock import SystemClock
from meltguard.core.units import Seconds
from support.memory_quota import MemoryQuotaStore
from support.valkey import ValkeyServer, valkey_server

GENEROUS = Seconds(5.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with valkey_server(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture(params=["valkey", "memory"])
async def store(request: pytest.FixtureRequest, server: ValkeyServer) -> AsyncIterator[QuotaStore]:
    if request.param == "memory":
        yield MemoryQuotaStore(SystemClock())
        return
    server.client().flushall()
    real = ValkeyQuotaStore(StoreAddress(url=server.url), GENEROUS)
    yield real
    await real.close()


@pytest.fixture(params=["fake", pytest.param("plane", marks=pytest.mark.plane)])
async def setting(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """A port's setting, as the suite's own module makes it: `faked()`, or `on_the_plane()` of a real API server."""
    if request.param == "fake":
        async with request.module.faked() as made:
            yield made
        return
    plane, shielded = request.getfixturevalue("lone_plane"), request.getfixturevalue("shielded")
    async with request.module.on_the_plane(plane, shielded) as made:
        yield made
