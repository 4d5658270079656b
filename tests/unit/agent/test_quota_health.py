"""What is borne of a store and what is believed at once; what its client's errors mean."""

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
from redis import exceptions as said

from meltguard.agent.news import News
from meltguard.agent.quota_connection import meaning
from meltguard.agent.quota_health import FAILURES_BORNE, StoreHealth
from meltguard.agent.quota_store import StoreTrouble
from meltguard.api.store_state import StoreState
from meltguard.core.units import Seconds

NOW = Seconds(100.0)
BORNE = (StoreState.SLOW, StoreState.DOWN, StoreState.CLOSED, StoreState.FAULTY)
BELIEVED = (
    StoreState.FULL,
    StoreState.READ_ONLY,
    StoreState.LOADING,
    StoreState.REFUSED_CREDENTIALS,
    StoreState.REFUSED_RIGHTS,
    StoreState.UNTRUSTED,
    StoreState.CLUSTER,
)
MEANINGS = {
    StoreState.LOADING: said.BusyLoadingError("reading its file"),
    StoreState.FULL: said.OutOfMemoryError("used memory > 'maxmemory'"),
    StoreState.READ_ONLY: said.ReadOnlyError("a replica"),
    StoreState.REFUSED_CREDENTIALS: said.AuthenticationError("WRONGPASS"),
    StoreState.REFUSED_RIGHTS: said.NoPermissionError("no permission"),
    StoreState.CLUSTER: said.MovedError("1234 127.0.0.1:7001"),
    StoreState.SLOW: said.TimeoutError("timed out"),
    StoreState.CLOSED: said.ConnectionError("Connection closed by server."),
    StoreState.FAULTY: said.ResponseError("WRONGTYPE"),
}


@pytest.fixture
async def health() -> AsyncIterator[StoreHealth]:
    news = News()
    yield StoreHealth(news, exists=True)
    await asyncio.sleep(0)
    news.close()


@pytest.mark.parametrize("state", BORNE)
async def test_what_may_pass_is_borne_a_little(health: StoreHealth, state: StoreState) -> None:
    for _ in range(FAILURES_BORNE - 1):
        health.failed_with(StoreTrouble("x", state), NOW)
        assert (health.refusing, health.state(NOW)) == (False, StoreState.OK)
    health.failed_with(StoreTrouble("x", state), NOW)
    assert (health.refusing, health.state(NOW)) == (True, state)
    health.answered(NOW)
    assert (health.refusing, health.state(NOW)) == (False, StoreState.OK)
    assert health.all_failures()[state] == FAILURES_BORNE


@pytest.mark.parametrize("state", BELIEVED)
async def test_what_the_store_says_itself_is_believed(health: StoreHealth, state: StoreState) -> None:
    health.failed_with(StoreTrouble("x", state), NOW)
    assert (health.refusing, health.state(NOW)) == (True, state)


async def test_a_lost_span_is_told_until_it_ends_or_is_known_again(health: StoreHealth) -> None:
    health.forgot("free", Seconds(200.0))
    health.forgot("plus/week", Seconds(300.0))
    assert not health.refusing  # other books are counted
    assert health.state(Seconds(199.0)) is StoreState.LOST
    health.remembers("plus/week")
    assert health.state(Seconds(200.0)) is StoreState.OK


async def test_without_a_store_there_is_none() -> None:
    health = StoreHealth(News(), exists=False)
    assert (health.refusing, health.state(NOW)) == (True, StoreState.MISSING)


@pytest.mark.parametrize(("state", "error"), MEANINGS.items(), ids=str)
def test_each_error_has_its_meaning(state: StoreState, error: Exception) -> None:
    assert meaning(error) is state


@pytest.mark.parametrize(
    ("cause", "state"),
    [
        (ConnectionRefusedError(111, "refused"), StoreState.DOWN),
        (ConnectionResetError(104, "reset"), StoreState.CLOSED),
        (ssl.SSLCertVerificationError("self-signed"), StoreState.UNTRUSTED),
        (OSError(113, "no route to host"), StoreState.DOWN),
    ],
    ids=str,
)
def test_what_led_to_an_error_counts(cause: OSError, state: StoreState) -> None:
    error = said.ConnectionError("could not connect")
    error.__cause__ = cause
    assert meaning(error) is state


def test_a_script_taught_on_the_way_hides_nothing() -> None:
    error = said.OutOfMemoryError("full")
    error.__context__ = said.NoScriptError("no such script")
    assert meaning(error) is StoreState.FULL
