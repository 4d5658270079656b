"""Every state that the store of quotas can be in: named, refused in, and left by itself once it is mended."""

import asyncio
import logging
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from meltguard.agent.quota_asks import Denial, Reservation
from meltguard.agent.quota_desk import QuotaDesk
from meltguard.agent.settings import StoreAddress
from meltguard.api.limit_document import QuotaRule
from meltguard.api.store_state import StoreState, told
from meltguard.core.quota import Period, WhenUncounted
from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput
from meltguard.localcluster.certificates import Authority, Identity
from support.eventually import eventually, soon
from support.quota_desks import BUDGET, claim, spend, stands, working_desk
from support.tls import tls_before
from support.valkey import ValkeyServer, valkey_cluster, valkey_server

REFUSED = "quota-store-unavailable"


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    with valkey_server(tmp_path / "valkey") as server:
        yield server


def address(server: ValkeyServer) -> StoreAddress:
    return StoreAddress(url=server.url)


async def follows(replica: ValkeyServer) -> None:
    """Return once it is linked to its master."""
    await eventually(lambda: replica.client().info("replication")["master_link_status"] == "up", 10.0)


async def refused_until(desk: QuotaDesk, state: StoreState) -> None:
    """Ask until the store is given up, as requests do; nothing is granted meanwhile."""
    for _ in range(3):
        assert await spend(desk, "bob") == REFUSED
    await stands(desk, state)


async def test_slow(valkey: ValkeyServer) -> None:
    async with working_desk(address(valkey), budget=Seconds(2.0)) as desk:
        assert await spend(desk) == "had"
        valkey.freeze()
        await refused_until(desk, StoreState.SLOW)
        valkey.thaw()
        await stands(desk, StoreState.OK)
        assert [await spend(desk) for _ in range(3)] == ["had", "had", "daily-quota"]


async def test_down_and_back_with_what_it_wrote(valkey: ValkeyServer) -> None:
    async with working_desk(address(valkey)) as desk:
        assert await spend(desk) == "had"
        valkey.kill()
        await refused_until(desk, StoreState.DOWN)
        valkey.start()
        await stands(desk, StoreState.OK)
        assert [await spend(desk) for _ in range(3)] == ["had", "had", "daily-quota"]


async def test_full(valkey: ValkeyServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with working_desk(address(valkey)) as desk:
        given = await claim(desk)
        assert isinstance(given, Reservation)
        valkey.client().config_set("maxmemory", "1")
        assert await spend(desk, "bob") == REFUSED
        assert desk.store_state is StoreState.FULL  # at once: it said so itself
        desk.commit(given)  # what was had is counted by a full store too
        await asyncio.sleep(0.2)
        assert desk.store_state is StoreState.FULL
        valkey.client().config_set("maxmemory", "0")
        await stands(desk, StoreState.OK)
        assert [await spend(desk) for _ in range(3)] == ["had", "had", "daily-quota"]
    told_of = [record.message for record in caplog.records if record.name.endswith("quota_health")]
    assert told_of == [told(StoreState.FULL), told(StoreState.OK)]


async def test_read_only_replica_and_fail_over(valkey: ValkeyServer, tmp_path: Path) -> None:
    valkey.client().config_set("repl-diskless-sync-delay", "0")
    with valkey_server(tmp_path / "replica", replicaof=f"127.0.0.1 {valkey.port}") as replica:
        await follows(replica)
        async with working_desk(address(valkey)) as desk, working_desk(address(replica)) as misled:
            assert [await spend(desk) for _ in range(2)] == ["had", "had"]
            assert await spend(misled, "bob") == REFUSED
            assert misled.store_state is StoreState.READ_ONLY
            assert valkey.client().wait(1, 5000) == 1
            valkey.kill()
            await refused_until(desk, StoreState.DOWN)
            replica.client().replicaof("NO", "ONE")
            await stands(misled, StoreState.OK)
            replica.client().config_set("port", str(valkey.port))  # as a Service turns to the new primary
            await stands(desk, StoreState.OK)
            assert [await spend(desk) for _ in range(2)] == ["had", "daily-quota"]


async def test_a_tier_that_may_goes_on_uncounted_and_is_counted_later(valkey: ValkeyServer) -> None:
    lenient = QuotaRule(images=3, when_uncounted=WhenUncounted.ADMIT)
    async with working_desk(address(valkey)) as desk:
        assert await spend(desk, rule=lenient) == "had"
        valkey.kill()
        async with soon():
            while desk.store_state is not StoreState.DOWN:
                assert isinstance(await claim(desk, "bob", rule=lenient), Reservation)
        given = await claim(desk, rule=lenient)
        assert isinstance(given, Reservation)
        assert given.allowance is None
        desk.commit(given)
        assert await spend(desk, "carl") == REFUSED, "another tier's rule is its own"
        valkey.start()
        await stands(desk, StoreState.OK)
        await settled(desk)
        assert [await spend(desk, rule=lenient) for _ in range(2)] == ["had", "daily-quota"]
        assert desk.answers["nobody"] >= 3


async def test_a_fail_over_that_lost_what_was_delivered_is_caught_up(valkey: ValkeyServer, tmp_path: Path) -> None:
    """The replica had heard of the first image only: nothing was in progress, so nobody gets one beyond the quota."""
    with valkey_server(tmp_path / "replica", replicaof=f"127.0.0.1 {valkey.port}") as replica:
        await follows(replica)
        async with working_desk(address(valkey)) as desk, working_desk(address(valkey)) as other:
            assert await spend(desk) == "had"
            assert await spend(other, "bob") == "had"
            assert valkey.client().wait(1, 5000) == 1
            replica.client().replicaof("NO", "ONE")
            assert [await spend(desk) for _ in range(2)] == ["had", "had"]
            assert await spend(other, "bob") == "had"
            await settled(desk, other)
            valkey.kill()
            await refused_until(desk, StoreState.DOWN)
            replica.client().config_set("port", str(valkey.port))
            await stands(desk, StoreState.OK)
            assert await spend(desk) == "daily-quota", "what it delivered was told again before it asked"
            assert await spend(other, "bob") == REFUSED, "it noticed at its first question, and tells what was lost"
            await settled(other)
            assert [await spend(other, "bob") for _ in range(2)] == ["had", "daily-quota"]


async def test_a_store_that_fell_back_without_a_break_is_noticed_and_told_again(valkey: ValkeyServer) -> None:
    """As behind a proxy that hides the fail-over: the books are those of a moment ago."""
    async with working_desk(address(valkey)) as desk:
        assert await spend(desk) == "had"
        await settled(desk)
        kept = {key: valkey.client().dump(key) or b"" for key in valkey.client().scan_iter()}
        assert [await spend(desk) for _ in range(2)] == ["had", "had"]
        await settled(desk)
        for key, value in kept.items():
            valkey.client().restore(key, 60_000, value, replace=True)
        assert await spend(desk, "bob") == REFUSED
        await settled(desk)
        assert desk.told.fell_back.total() == 1
        assert await spend(desk, "bob") == "had"
        assert await spend(desk) == "daily-quota"


async def settled(*desks: QuotaDesk) -> None:
    """Wait until the store was told all, and a failure that was borne is over: after it all is told anew."""
    await eventually(lambda: all(desk.nothing_to_tell and not desk.health.failures for desk in desks), 5.0)


@pytest.mark.parametrize("how", ["flushed", "restarted empty"])
async def test_lost_until_a_person_accepts_it(valkey: ValkeyServer, tmp_path: Path, how: str) -> None:
    month = QuotaRule(images=3, per=Period.MONTH)
    async with working_desk(address(valkey), tmp_path / "state.json") as desk:
        assert await spend(desk, rule=month) == "had"
        if how == "flushed":
            valkey.client().flushall()
        else:
            valkey.kill()
            valkey.forget()
            valkey.start()
        async with soon():
            while desk.store_state is not StoreState.LOST:
                assert await spend(desk, "bob", rule=month) == REFUSED
                await asyncio.sleep(0.02)
        outcome = await claim(desk, "bob", rule=month)
        assert isinstance(outcome, Denial)
        assert outcome.reset is not None
        async with working_desk(address(valkey)) as newcomer:
            assert await spend(newcomer, rule=month) == REFUSED
        assert await spend(desk, tier="plus") == "had"  # another tier's span was not seen before
        assert desk.store_state is StoreState.LOST
        valkey.client().hset("meltguard:{serving/image-gen}:free:month", "lost", "accepted")
        assert [await spend(desk, rule=month) for _ in range(4)] == ["had"] * 3 + ["monthly-quota"]
        assert desk.store_state is StoreState.OK
        valkey.client().flushall()
        assert await spend(desk, "bob", rule=month) == REFUSED  # what was accepted was one loss


async def test_wrong_password(valkey: ValkeyServer) -> None:
    client = valkey.client()
    client.config_set("requirepass", "right")
    wrong = StoreAddress(url=f"redis://:wrong@127.0.0.1:{valkey.port}/0")
    for bad in (wrong, address(valkey)):
        async with working_desk(bad) as desk:
            assert await spend(desk) == REFUSED
            assert desk.store_state is StoreState.REFUSED_CREDENTIALS
    client.config_set("requirepass", "wrong")
    async with working_desk(wrong) as desk:
        assert await spend(desk) == "had"


async def test_rights_that_do_not_suffice(valkey: ValkeyServer) -> None:
    client = valkey.client()
    client.acl_setuser("other", enabled=True, passwords=["+pw"], keys=["other:*"], commands=["+@all"])
    async with working_desk(StoreAddress(url=f"redis://other:pw@127.0.0.1:{valkey.port}/0")) as desk:
        assert await spend(desk) == REFUSED
        assert desk.store_state is StoreState.REFUSED_RIGHTS
        client.acl_setuser("other", enabled=True, keys=["meltguard:*"])
        await stands(desk, StoreState.OK)
        assert await spend(desk) == "had"


async def test_tls_with_certificates_of_our_own(valkey: ValkeyServer, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "ca"), Authority(tmp_path / "stranger")
    server = authority.issue("server", Identity(name="valkey", addresses=("127.0.0.1",)))
    ours, theirs = authority.issue("agent", Identity(name="agent")), stranger.issue("agent", Identity(name="agent"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(server.certificate, server.key)
    async with tls_before(valkey.port, context) as port:
        url = f"rediss://127.0.0.1:{port}/0"
        right = StoreAddress(url=url, ca_file=authority.certificate, cert_file=ours.certificate, key_file=ours.key)
        async with working_desk(right) as desk:
            assert await spend(desk) == "had"
        wrongs = (
            StoreAddress(url=url, ca_file=stranger.certificate, cert_file=ours.certificate, key_file=ours.key),
            StoreAddress(url=url, ca_file=authority.certificate, cert_file=theirs.certificate, key_file=theirs.key),
            StoreAddress(url=url, ca_file=authority.certificate),
            StoreAddress(url=f"redis://127.0.0.1:{port}/0"),
            StoreAddress(url=f"rediss://127.0.0.1:{valkey.port}/0", ca_file=authority.certificate),
        )
        closed = StoreState.CLOSED  # by TLS 1.3 a server refuses a client's certificate after the handshake
        for wrong, state in zip(wrongs, (StoreState.UNTRUSTED, closed, closed, closed, StoreState.SLOW), strict=True):
            budget = Seconds(0.5) if state is StoreState.SLOW else BUDGET  # that one never answers
            async with working_desk(wrong, budget=budget) as desk:
                await refused_until(desk, state)


async def test_a_cluster(tmp_path: Path) -> None:
    with valkey_cluster(tmp_path) as (low, high):
        plain = [StoreAddress(url=node.url) for node in (low, high)]
        states = set()
        for one in plain:
            async with working_desk(one) as desk:
                states.add((await spend(desk), desk.store_state))
        assert states == {("had", StoreState.OK), (REFUSED, StoreState.CLUSTER)}  # one of two has the policy's keys
        for node in (low, high):
            url = node.url.replace("redis://", "redis+cluster://")
            async with working_desk(StoreAddress(url=url)) as desk:
                assert await spend(desk) == "had"
        async with working_desk(StoreAddress(url=url)) as desk:
            assert await spend(desk) == "daily-quota"
        assert sum(len(node.client().keys("*")) for node in (low, high)) == 3
        assert 0 in {len(node.client().keys("*")) for node in (low, high)}  # all in one slot


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://127.0.0.1:6379"},
        {"url": "redis://127.0.0.1:6379", "ca_file": Path(__file__)},
        {"url": "rediss://127.0.0.1:6379", "cert_file": Path(__file__)},
        {"url": "rediss://127.0.0.1:6379", "ca_file": Path("/nowhere/ca.crt")},
    ],
    ids=str,
)
async def test_an_address_that_cannot_be_right_is_refused_at_the_start(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="quota store"):
        async with working_desk(StoreAddress(**wrong)):  # type: ignore[arg-type]
            pass
