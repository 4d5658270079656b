"""The quota store in Valkey (or Redis): one script for each atomic step."""

import asyncio
import hashlib
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError

from meltguard.agent.quota_connection import connect, meaning
from meltguard.agent.quota_store import AccountKey, Outcome, Reserved, Settlement, SpanClaim, SpanSeen, StoreTrouble
from meltguard.agent.settings import StoreAddress
from meltguard.api.store_state import StoreState
from meltguard.core.quota import DAY
from meltguard.core.units import Instant, Seconds

MILLIS: Final = 1_000
DELIVERED_KNOWN_FOR: Final = DAY  # seconds at least, within its span, that a delivered request is known by its key

Arguments = Sequence[str | int]


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the name that the server knows it by."""

    text: str
    sha: str

    @classmethod
    def read(cls, name: str) -> "Script":
        """A script of this package."""
        text = files("meltguard.agent").joinpath(name).read_text(encoding="utf-8")
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class ValkeyQuotaStore:
    """All keys of a policy bear its name as hash tag, so that a script finds them in one slot of a cluster.

    The server must not evict (`maxmemory-policy noeviction`), and only `appendfsync always` remembers the last second
    through a crash of the server's machine.
    """

    def __init__(self, address: StoreAddress, budget: Seconds) -> None:
        self._where, self._budget = address.shown, budget
        self._client = connect(address, budget)
        self._reserve, self._settle, self._probe = (
            Script.read(f"quota_{step}.lua") for step in ("reserve", "settle", "probe")
        )

    async def reserve(self, claim: SpanClaim) -> Reserved:
        """Set images aside. Raises StoreTrouble."""
        seen = claim.seen
        arguments = (
            claim.claim.request,
            claim.claim.images,
            claim.claim.limit,
            _millis(claim.claim.hold_for),
            _millis(claim.span.start),
            _millis(claim.span.end),
            claim.new_id,
            seen.id if seen else "",
            _millis(seen.end) if seen else 0,
            claim.writes,
            claim.claim.attempt,
        )
        with self._trouble("reserve images"):
            answer = await self._run(self._reserve, _keys(claim.account), arguments)
        outcome, used, now, end, span, held, requests, writes = cast(
            "tuple[str, int, int, int, str, int, list[str] | None, int]", answer
        )
        return Reserved(
            outcome=Outcome(outcome),
            used=int(used),
            now=Instant(now / MILLIS),
            span=SpanSeen(id=span, end=Instant(end / MILLIS)) if span else None,
            held=int(held),
            writes=int(writes),
            requests=None if requests is None else dict(zip(requests[::2], map(Outcome, requests[1::2]), strict=True)),
        )

    async def settle(self, settlements: Sequence[Settlement]) -> Mapping[str, int]:
        """Commit or release those of one policy; the spans' writes after that. Raises StoreTrouble."""
        keys = [key for one in settlements for key in _keys(one.account)]
        arguments: list[str | int] = [DELIVERED_KNOWN_FOR]
        for one in settlements:
            arguments += (one.request, one.images, one.span, one.ending.value, one.attempt)
        with self._trouble("settle reservations"):
            writes = await self._run(self._settle, keys, arguments)
        return {one.account.book: int(count) for one, count in zip(settlements, writes, strict=True)}

    async def probe(self, policy: str) -> None:
        """Whether a reservation could be made now. Raises StoreTrouble."""
        with self._trouble("be asked"):
            await self._run(self._probe, (f"meltguard:{{{policy}}}:probe",), ())

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
        await self._hang_up()

    async def _hang_up(self) -> None:
        if isinstance(self._client, Redis):
            await self._client.connection_pool.disconnect()

    async def _run(self, script: Script, keys: Sequence[str], arguments: Arguments) -> Any:
        """Run a script by its name; a server that does not know it is taught it by the same call."""
        async with asyncio.timeout(self._budget):
            try:
                return await _called(self._client.evalsha(script.sha, len(keys), *keys, *arguments))
            except NoScriptError:
                return await _called(self._client.eval(script.text, len(keys), *keys, *arguments))
            except ReadOnlyError:
                await self._hang_up()  # a primary was replaced: its Service may lead to the new one by now
                raise

    @contextmanager
    def _trouble(self, doing: str) -> Iterator[None]:
        try:
            yield
        except TimeoutError as exc:
            what = f"quota store {self._where} did not {doing} within {self._budget} s"
            raise StoreTrouble(what, StoreState.SLOW) from exc
        except (RedisError, OSError) as exc:
            raise StoreTrouble(f"quota store {self._where} could not {doing}: {exc}", meaning(exc)) from exc


def _called(call: Any) -> Awaitable[Any]:
    """The client's types leave open whether it is the asynchronous one."""
    return cast("Awaitable[Any]", call)


def _keys(account: AccountKey) -> tuple[str, ...]:
    policy = f"meltguard:{{{account.policy}}}"
    user = f"{policy}:{account.book}:{account.user}"
    return (f"{policy}:{account.tier}:{account.period}", user, f"{user}:holds", f"{user}:done")


def _millis(seconds: float) -> int:
    return round(seconds * MILLIS)
