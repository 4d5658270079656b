"""Who bears which token: remembered while it lasts, forgotten with the keys, told apart from who bears none."""

import asyncio
from collections.abc import Awaitable

import pytest
from joserfc.jwk import Key

from meltguard.agent.asgi import SEEN, Answer, Scope
from meltguard.agent.bearers import MOST_KNOWN, OUTCOMES, TOLD, Bearers
from meltguard.agent.caller import Caller
from meltguard.agent.settings import Callers
from meltguard.agent.token_keys import KeyRing
from meltguard.agent.token_rules import TokenRules
from meltguard.agent.tokens import Fault
from meltguard.core.units import Seconds, TierName
from meltguard.errors import Unavailable
from support.agents import ManualClock
from support.eventually import eventually
from support.issuer import a_key, a_token, key_set, rules

OURS, OTHER = a_key("k1"), a_key("k2")


class Source:
    """An issuer that may be away; None is that."""

    def __init__(self, *keys: Key) -> None:
        self.raw: bytes | None = key_set(*keys) if keys else None
        self.asked = 0

    async def fetch(self) -> bytes:
        """The set."""
        self.asked += 1
        await asyncio.sleep(0)
        if self.raw is None:
            raise Unavailable("the issuer is away; wait")
        return self.raw


class Desk:
    """Who is asked who calls, on a clock that stands still."""

    def __init__(self, source: Source, **changes: object) -> None:
        self.clock, self.source = ManualClock(), source
        believed: TokenRules = rules("unused", **{"required": True, **changes})
        callers = Callers(tokens=believed, default_tier=TierName("free"))
        ring = KeyRing(source, self.clock, believed.refresh_every, believed.ask_again_after)
        self.bearers = Bearers(callers, believed, ring, self.clock)

    def token(self, key: Key = OURS, **changes: object) -> str:
        """A token of this clock's time."""
        now = int(self.clock.now())
        return a_token(key, **{"iat": now, "exp": now + 600, **changes})

    async def who(self, *authorization: str) -> Caller | Answer:
        """Who sends these Authorization headers."""
        found = self.bearers(a_scope(*authorization))
        return await found if isinstance(found, Awaitable) else found

    async def bearer(self, token: str) -> Caller | Answer:
        """Who bears a token."""
        return await self.who(f"Bearer {token}")


def a_scope(*authorization: str) -> Scope:
    headers = [(b"authorization", each.encode()) for each in authorization]
    return {"type": "http", "path": "/i", "client": ("10.0.0.1", 1), "headers": headers, SEEN: {}}


ANN = Caller(TierName("plus"), "ann", "address 10.0.0.1")
STRANGER = Caller(TierName("free"), "address 10.0.0.1", "address 10.0.0.1")


async def test_a_token_is_verified_once_while_it_lasts() -> None:
    desk = Desk(Source(OURS))
    token = desk.token()
    assert await desk.bearer(token) == ANN
    keys, desk.bearers.ring.keys = desk.bearers.ring.keys, ()  # who verified now would find none
    assert await desk.bearer(token) == ANN
    desk.bearers.ring.keys = keys
    desk.clock.pass_by(631.0)
    told = await desk.bearer(token)
    assert isinstance(told, Answer)
    assert desk.bearers.outcomes == {"verified": 2, "expired": 1}


async def test_what_a_key_verified_is_forgotten_with_the_key() -> None:
    desk = Desk(Source(OURS))
    token = desk.token()
    assert await desk.bearer(token) == ANN
    desk.source.raw = key_set(OTHER)
    await desk.bearers.ring.ask()
    assert isinstance(await desk.bearer(token), Answer)
    assert await desk.bearer(desk.token(OTHER)) == ANN


async def test_tokens_are_remembered_by_hash_and_in_a_bounded_number() -> None:
    desk = Desk(Source(OURS))
    token = desk.token()
    await desk.bearer(token)
    assert all(len(known) == 32 for known in desk.bearers._known)
    (verified,) = desk.bearers._known.values()
    desk.bearers._known.update({b"%d" % number: verified for number in range(MOST_KNOWN)})
    await desk.bearer(desk.token(jti="2"))
    assert len(desk.bearers._known) <= MOST_KNOWN + 1


async def test_unknown_keys_have_the_set_fetched_no_sooner_than_is_allowed() -> None:
    desk = Desk(Source(OURS))
    assert await desk.bearer(desk.token()) == ANN
    for _ in range(50):
        await desk.bearer(desk.token(OTHER))
    assert desk.source.asked == 1
    desk.clock.pass_by(10.0)
    await asyncio.gather(*(desk.bearer(desk.token(OTHER)) for _ in range(50)))
    assert desk.source.asked == 2
    assert desk.bearers.outcomes[Fault.UNKNOWN_KEY] == 100


async def test_while_the_issuer_is_away_nobody_can_tell() -> None:
    desk = Desk(Source())
    told = await desk.bearer(desk.token())
    assert isinstance(told, Answer)
    assert (told.status, told.headers) == (503, {"retry-after": "10"})
    desk.source.raw = key_set(OURS)
    desk.clock.pass_by(10.0)
    assert await desk.bearer(desk.token()) == ANN


SAID = {
    "nothing": ((), "none", "token-missing"),
    "another scheme": (("Basic YTpi",), "none", "token-missing"),
    "a scheme only": (("Bearer",), "malformed", "malformed"),
    "two": (("Bearer a", "Bearer b"), "repeated", "repeated"),
    "no JWT": (("Bearer sk-abc",), "malformed", "malformed"),
}


@pytest.mark.parametrize(("said", "outcome", "reason"), SAID.values(), ids=SAID)
async def test_none_is_told_apart_from_a_bad_one(said: tuple[str, ...], outcome: str, reason: str) -> None:
    desk = Desk(Source(OURS))
    told = await desk.who(*said)
    assert isinstance(told, Answer)
    assert (told.status, f'"reason": "{reason}"' in told.body.decode()) == (401, True)
    assert told.headers["www-authenticate"].startswith("Bearer")
    assert desk.bearers.outcomes == {outcome: 1}


@pytest.mark.parametrize(("said", "outcome", "reason"), SAID.values(), ids=SAID)
async def test_where_none_is_required_they_are_strangers(said: tuple[str, ...], outcome: str, reason: str) -> None:
    del reason
    desk = Desk(Source(OURS), required=False)
    scope = a_scope(*said)
    assert desk.bearers(scope) == STRANGER
    assert scope[SEEN] == {"token": outcome}


async def test_a_scheme_is_read_in_any_case_and_a_tier_that_is_not_known_is_the_default() -> None:
    desk = Desk(Source(OURS))
    assert await desk.who(f"bEARER   {desk.token(tier='iron')} ") == Caller(TierName("free"), "ann", ANN.address)


def test_every_fault_has_its_words_and_its_count() -> None:
    assert set(TOLD) == set(Fault)
    assert set(OUTCOMES) == {"verified", "none", *Fault}


async def test_who_keeps_the_set_fresh_asks_again_sooner_after_a_failure() -> None:
    source = Source()
    ring = KeyRing(source, ManualClock(), Seconds(600.0), Seconds(0.01))
    work = asyncio.create_task(ring.run())
    await eventually(lambda: source.asked >= 3)
    source.raw = key_set(OURS)
    await eventually(lambda: not ring.failing)
    work.cancel()
    assert len(ring.keys) == 1
