"""The user file that we ship: our scripts can do what they do, and its holder nothing else."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, RedisError

from meltguard.agent.quota_asks import Reservation
from meltguard.agent.quota_valkey import Script
from meltguard.agent.settings import StoreAddress
from support.quota_desks import THREE, claim, spend, working_desk
from support.valkey import ValkeyServer

SHIPPED = Path(__file__).parents[2] / "deploy/valkey/users.acl"
FORBIDDEN = (
    ("FLUSHALL",),
    ("CONFIG", "GET", "*"),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("SHUTDOWN",),
    ("MONITOR",),
    ("ACL", "LIST"),
    ("SCRIPT", "FLUSH"),
    ("REPLICAOF", "NO", "ONE"),
    ("SET", "meltguard:x", "1"),
    ("HSET", "other:x", "a", "1"),
    ("DEL", "other:x"),
    ("PUBLISH", "meltguard", "x"),
    ("EVAL", "return redis.call('FLUSHALL')", "0"),
    ("EVAL", "return redis.call('HSET', 'other:x', 'a', '1')", "0"),
    ("EVAL", "return redis.call('HGETALL', KEYS[1])", "1", "other:x"),
)


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    folder = tmp_path_factory.mktemp("valkey")
    users = folder / "users.acl"
    users.write_text(SHIPPED.read_text().replace("CHANGE-ME", "pw") + "user admin on >admin ~* &* +@all\n")
    server = ValkeyServer(folder, aclfile=str(users))
    server.log_in("admin", "admin")
    try:
        server.start()
        yield server
    finally:
        server.kill()


def ours(valkey: ValkeyServer) -> str:
    return f"redis://meltguard:pw@127.0.0.1:{valkey.port}/0"


def granted() -> list[str]:
    line = next(line for line in SHIPPED.read_text().splitlines() if line.startswith("user meltguard"))
    return [word[1:] for word in line.split() if word.startswith("+")]


async def exercise(valkey: ValkeyServer) -> None:
    """Each way through each script."""
    valkey.client().flushall()
    async with working_desk(StoreAddress(url=ours(valkey))) as desk:
        outcome = await claim(desk, key="again")
        assert isinstance(outcome, Reservation)
        desk.release(outcome)
        assert [await spend(desk, key=f"k{number}") for number in range(3)] == ["had"] * 3
        assert await spend(desk) == "daily-quota"
        for number in range(64):  # as many as make old marks be looked for
            assert await spend(desk, "bob", rule=THREE.model_copy(update={"images": 100})) == "had", number
        await desk._store.probe("serving/image-gen")  # type: ignore[union-attr]


async def test_our_scripts_may_do_what_they_do(valkey: ValkeyServer) -> None:
    valkey.client().script_flush()
    await exercise(valkey)


@pytest.mark.parametrize("command", FORBIDDEN, ids=lambda words: " ".join(words[:2]))
def test_nothing_else_is_allowed(valkey: ValkeyServer, command: tuple[str, ...]) -> None:
    with contextlib.closing(Redis.from_url(ours(valkey))) as client:
        with pytest.raises(RedisError) as refused:
            client.execute_command(*command)
        assert isinstance(refused.value, NoPermissionError) or "ACL" in str(refused.value)


def test_no_right_is_given_that_nothing_uses() -> None:
    used = "".join(Script.read(f"quota_{step}.lua").text for step in ("reserve", "settle", "probe"))
    commands = {name for name in granted() if name not in {"hello", "client|setinfo", "eval", "evalsha"}}
    assert {name for name in commands if f"redis.call('{name.upper()}'" not in used} == set()


def test_nobody_else_gets_in(valkey: ValkeyServer) -> None:
    with contextlib.closing(Redis(port=valkey.port)) as client, pytest.raises(RedisError, match="authenticated"):
        client.ping()
