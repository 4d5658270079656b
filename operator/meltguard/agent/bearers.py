"""Callers known by signed tokens: `Authorization: Bearer`, RFC 6750."""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Final

from meltguard.agent.asgi import SEEN, Answer, Scope, problem
from meltguard.agent.caller import Caller, Found, address_of, stranger
from meltguard.agent.settings import Callers
from meltguard.agent.token_keys import KeyRing
from meltguard.agent.token_rules import TokenRules
from meltguard.agent.tokens import Fault, TokenReader, Verified
from meltguard.ports import Clock

MOST_KNOWN: Final = 10_000  # tokens that are remembered as verified
VERIFIED, NONE = "verified", "none"
OUTCOMES: Final = (VERIFIED, NONE, *(fault.value for fault in Fault))
SCHEME: Final = b"bearer"
ASKED_ABOUT: Final = (Fault.NO_KEYS, Fault.UNKNOWN_KEY)

TOLD: Final[Mapping[Fault, str]] = {
    Fault.REPEATED: "there are two Authorization headers; send one",
    Fault.OVERSIZE: "the token is larger than any that is read here; ask its issuer for a smaller one",
    Fault.MALFORMED: "this is no signed token (JWT); get one from the issuer",
    Fault.ALGORITHM: "the token's algorithm is not one that is allowed here; get one from the issuer",
    Fault.NO_KEYS: "the issuer's keys cannot be had at the moment, so no token can be verified; try again",
    Fault.UNKNOWN_KEY: "the token is signed by a key that the issuer does not publish; get a new one",
    Fault.SIGNATURE: "the token's signature is wrong; get one from the issuer",
    Fault.ISSUER: "the token is of another issuer; get one from the issuer of this service",
    Fault.AUDIENCE: "the token is for another service; ask the issuer for one for this service",
    Fault.EXPIRED: "the token has expired; get a new one",
    Fault.NOT_YET: "the token is not valid yet; compare your clock with its times",
    Fault.CLAIMS: "the token lacks a claim that is needed here, or has it wrong; get one for this service",
}
NEEDED: Final = "this service wants to know who calls: send Authorization: Bearer and a token of its issuer"


class Bearers:
    """Tells callers by their tokens; who has none, or a bad one, is a stranger or not served."""

    def __init__(self, callers: Callers, rules: TokenRules, ring: KeyRing, clock: Clock) -> None:
        self._callers, self._rules, self._clock = callers, rules, clock
        self.ring, self._reader = ring, TokenReader(rules, ring)
        self.outcomes: Counter[str] = Counter()
        self._known: OrderedDict[bytes, Verified] = OrderedDict()
        self._edition = ring.edition  # of the keys that verified those

    def __call__(self, scope: Scope) -> "Found | Awaitable[Found]":
        """Who sent a request. Waits only where a key is unknown and its issuer may be asked again."""
        token = bearer_token(scope)
        if not isinstance(token, bytes):
            return self._told(scope, token)
        outcome = self._read(token)
        if isinstance(outcome, Fault) and outcome in ASKED_ABOUT and self.ring.may_ask:
            return self._after_asking(scope, token)
        return self._told(scope, outcome)

    async def _after_asking(self, scope: Scope, token: bytes) -> Found:
        await self.ring.ask()
        return self._told(scope, self._read(token))

    def _read(self, token: bytes) -> Verified | Fault:
        """What a token says; one that was verified before is only looked at for its end."""
        now = self._clock.now()
        if self._edition != self.ring.edition:
            self._edition = self.ring.edition
            self._known.clear()  # a key that was taken back verifies nothing any more
        digest = hashlib.sha256(token).digest()  # who reads our memory finds no tokens
        known = self._known.get(digest)
        if known is not None and now < known.until:
            return known
        self._known.pop(digest, None)
        outcome = self._reader.read(token, now)
        if isinstance(outcome, Verified):
            self._known[digest] = outcome
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        return outcome

    def _told(self, scope: Scope, outcome: Verified | Fault | None) -> Found:
        if isinstance(outcome, Verified):
            self.outcomes[VERIFIED] += 1
            return Caller(outcome.tier or self._callers.default_tier, outcome.user, address_of(scope))
        told = NONE if outcome is None else outcome.value
        self.outcomes[told] += 1
        if SEEN in scope:
            scope[SEEN]["token"] = told
        return self._refusal(outcome) if self._rules.required else stranger(scope, self._callers.default_tier)

    def _refusal(self, fault: Fault | None) -> Answer:
        if fault is Fault.NO_KEYS:
            return problem(503, TOLD[fault], reason=fault.value).again_after(self._rules.ask_again_after)
        if fault is None:
            return replace(problem(401, NEEDED, reason="token-missing"), headers={"www-authenticate": "Bearer"})
        challenge = f'Bearer error="invalid_token", error_description="{TOLD[fault]}"'
        return replace(problem(401, TOLD[fault], reason=fault.value), headers={"www-authenticate": challenge})


def bearer_token(scope: Scope) -> bytes | Fault | None:
    """The token that a request bears; None where it bears none.

    >>> bearer_token({"headers": [(b"authorization", b"bearer abc")]})
    b'abc'
    """
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(found) > 1:
        return Fault.REPEATED
    scheme, _, token = found[0].strip().partition(b" ") if found else (b"", b"", b"")
    return token.strip() if scheme.lower() == SCHEME else None
