"""The quota store's two adapters, for every suite that both must pass."""

from collections.abc import AsyncIterator, Iterator

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
