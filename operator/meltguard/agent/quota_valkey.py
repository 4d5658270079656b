"""The quota store in Valkey (or Redis): one script for each atomic step."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import cast
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from meltguard.agent.quota_store import AccountKey, DayClaim, DaySeen, Outcome, Reserved, Settlement, hashed
from meltguard.core.units import Instant, Seconds
from meltguard.errors import InvalidInput, Unavailable

CONNECTIONS = 16
MILLIS = 1_000


class ValkeyQuotaStore:
    """All keys of a policy bear its name as hash tag, so that a script finds them in one slot of a cluster.

    The server must not evict (`maxmemory-policy noeviction`), and only `appendfsync always` remembers the last second
    through a crash of the server's machine.
    """

    def __init__(self, url: str, budget: Seconds) -> None:
        self._where = _without_password(url)
        self._budget = budget
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS,
                timeout=budget,
                socket_timeout=budget,
                socket_connect_timeout=budget,
                retry=Retry(NoBackoff(), 0),  # whether to ask again is the caller's decision
                decode_responses=True,
            )
        except ValueError as exc:
            raise InvalidInput(f"quota store {self._where!r}: {exc}; write redis://HOST:PORT/DB") from exc
        self._client = Redis(connection_pool=pool)
        self._reserve = self._client.register_script(_script("quota_reserve.lua"))
        self._settle = self._client.register_script(_script("quota_settle.lua"))

    async def reserve(self, claim: DayClaim) -> Reserved:
        """Set images aside. Raises Unavailable."""
        seen = claim.seen
        arguments: list[str | int | float] = [
            claim.claim.request,
            claim.claim.images,
            claim.claim.limit,
            _millis(claim.claim.hold_for),
            _millis(claim.day.start),
            _millis(claim.day.end),
            claim.new_id,
            seen.id if seen else "",
            _millis(seen.end) if seen else 0,
        ]
        with self._unavailable("reserve images"):
            async with asyncio.timeout(self._budget):
                answer = await self._reserve(keys=_keys(claim.account, claim.claim.request), args=arguments)
        outcome, used, now, end, day = cast("tuple[str, int, int, int, str]", answer)
        return Reserved(
            outcome=Outcome(outcome),
            used=int(used),
            now=Instant(now / MILLIS),
            day=DaySeen(id=day, end=Instant(end / MILLIS)) if day else None,
        )

    async def settle(self, settlement: Settlement) -> None:
        """Commit or release. Raises Unavailable."""
        keys = _keys(settlement.account, settlement.request)
        arguments: list[str | int | float] = [
            settlement.request,
            settlement.images,
            settlement.day,
            settlement.ending.value,
        ]
        with self._unavailable("settle a reservation"):
            async with asyncio.timeout(self._budget):
                await self._settle(keys=keys, args=arguments)

    async def ping(self) -> None:
        """Whether it answers as a server that may be written to. Raises Unavailable."""
        with self._unavailable("be asked"):
            async with asyncio.timeout(self._budget):
                role = await self._client.role()
        if role[0] != "master":
            raise Unavailable(f"quota store {self._where} is a {role[0]}: nothing can be reserved until it is promoted")

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    @contextmanager
    def _unavailable(self, doing: str) -> Iterator[None]:
        try:
            yield
        except TimeoutError as exc:
            raise Unavailable(f"quota store {self._where} did not {doing} within {self._budget} s") from exc
        except (RedisError, OSError) as exc:
            raise Unavailable(f"quota store {self._where} could not {doing}: {exc}") from exc


def _keys(account: AccountKey, request: str) -> list[str]:
    tier = f"meltguard:{{{account.policy}}}:{account.tier}"
    user = f"{tier}:{account.user}"
    return [f"{tier}:day", user, f"{user}:holds", f"{user}:done:{hashed(request)}"]


def _millis(seconds: float) -> int:
    return round(seconds * MILLIS)


def _script(name: str) -> str:
    return files("meltguard.agent").joinpath(name).read_text(encoding="utf-8")


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
