"""What the scripts leave in a real Valkey: every key ends, in one slot of a cluster, and few bytes a user."""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meltguard.agent.quota_store import AccountKey, Ending, Settlement, SpanClaim, SpanSeen
from meltguard.agent.quota_valkey import ValkeyQuotaStore
from meltguard.agent.settings import StoreAddress
from meltguard.clock import SystemClock
from meltguard.core.quota import Claim, Period, Span
from meltguard.core.units import Instant, Seconds
from support.valkey import ValkeyServer, valkey_server

MOST_BYTES: Final = 1_000  # of a user with three images delivered
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with valkey_server(tmp_path_factory.mktemp("valkey")) as running:
        yield running


def claim_of(user: str, request: str, period: Period = Period.DAY, hold: float = 60.0) -> SpanClaim:
    now = SystemClock().now()
    return SpanClaim(
        account=AccountKey(policy="serving/image-gen", tier="free", user=user, period=period),
        claim=Claim(request=request, images=1, limit=3, hold_for=Seconds(hold)),
        span=Span(start=Instant(now - 100), end=Instant(now + 100)),
        new_id=f"{period}-span",
        seen=None,
    )


steps = st.lists(
    st.tuples(
        st.sampled_from(["claim", "commit", "release", "claim of a span lost", "commit of another span"]),
        st.integers(0, 70),  # more than make old marks be looked for
        st.sampled_from(Period),
        st.sampled_from([0.001, 60.0]),
    ),
    max_size=80,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_no_key_is_ever_without_an_end(server: ValkeyServer, steps: list[tuple[str, int, Period, float]]) -> None:
    async def play() -> None:
        store, user = ValkeyQuotaStore(StoreAddress(url=server.url), Seconds(5.0)), f"user-{next(NUMBERS)}"
        for doing, number, period, hold in steps:
            claim = claim_of(user, f"r{number}", period, hold)
            if doing == "claim":
                await store.reserve(claim)
            elif doing == "claim of a span lost":
                seen = SpanSeen(id="forgotten", end=claim.span.end)
                await store.reserve(replace(claim, seen=seen, account=replace(claim.account, tier="lost")))
            else:
                ending = Ending.RELEASE if doing == "release" else Ending.COMMIT
                span = "another" if doing == "commit of another span" else claim.new_id
                settlement = Settlement(account=claim.account, span=span, request=f"r{number}", images=1, ending=ending)
                await store.settle([settlement])
        await store.close()

    asyncio.run(play())
    client = server.client()
    keys = client.keys("*")
    assert all(0 < client.pttl(key) <= 100_000 for key in keys)
    assert all(key.startswith("meltguard:{serving/image-gen}:") for key in keys)
    client.flushall()


async def test_a_user_takes_less_than_a_kilobyte(server: ValkeyServer) -> None:
    client, store, users = server.client(), ValkeyQuotaStore(StoreAddress(url=server.url), Seconds(5.0)), 300
    client.flushall()
    before = client.info("memory")["used_memory"]
    for number in range(users):
        for image in range(3):
            claim = claim_of(f"{number:032x}", f"{image:032x}")
            await store.reserve(claim)
            settlement = Settlement(
                account=claim.account,
                span=claim.new_id,
                request=claim.claim.request,
                images=1,
                ending=Ending.COMMIT,
            )
            await store.settle([settlement])
    await store.close()
    assert len(client.keys("*")) == 2 * users + 1
    assert (client.info("memory")["used_memory"] - before) / users < MOST_BYTES
