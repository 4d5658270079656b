"""What a signed token says of its bearer, or why it is not believed. The clock is an argument."""

import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from joserfc import jws
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError, MissingClaimError
from joserfc.jwk import Key
from joserfc.jwt import JWTClaimsRegistry

from meltguard.agent.token_keys import KeyRing
from meltguard.agent.token_rules import TokenRules
from meltguard.core.units import Instant, Seconds, TierName

LONGEST_NAME: Final = 256  # characters of a user's or a tier's name
BELIEVED_FOR: Final = Seconds(3_600.0)  # then a token is verified again, however long it lasts
# A name goes into headers, journals and keys: what is no visible ASCII character is written as %XX, and so is %.
PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
# The last two: a header that is JSON, but no object.
MALFORMED: Final = (JoseError, ValueError, RecursionError, TypeError, AttributeError)


class Fault(StrEnum):
    """Why a token is not believed."""

    REPEATED = "repeated"  # there were two
    OVERSIZE = "oversize"
    MALFORMED = "malformed"
    ALGORITHM = "algorithm"  # not one that is allowed
    NO_KEYS = "keys-unavailable"  # nobody can tell: the issuer's keys are not to be had
    UNKNOWN_KEY = "unknown-key"
    SIGNATURE = "signature"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    EXPIRED = "expired"
    NOT_YET = "not-yet-valid"
    CLAIMS = "claims"  # it names no user, or has no end


CLAIM_FAULTS: Final[Mapping[str, Fault]] = {
    "iss": Fault.ISSUER,
    "aud": Fault.AUDIENCE,
    "nbf": Fault.NOT_YET,
    "iat": Fault.NOT_YET,
}


class Verified(NamedTuple):
    """What a token that is believed says."""

    user: str
    tier: TierName | None  # None: nothing that is known here
    until: Instant  # when it must be looked at again


class _Registry(jws.JWSRegistry):
    max_header_length = 8_192  # the token as a whole is bounded; some issuers send their certificates along


class TokenReader:
    """Verifies tokens by rules and keys."""

    def __init__(self, rules: TokenRules, ring: KeyRing) -> None:
        self._rules, self._ring = rules, ring
        self._registry = _Registry(algorithms=rules.algorithms, strict_check_header=False)

    def read(self, token: bytes, now: Instant) -> Verified | Fault:
        """What a token says, at this moment."""
        if len(token) > self._rules.most_bytes:
            return Fault.OVERSIZE
        payload = self._signed(token)
        if isinstance(payload, Fault):
            return payload
        try:
            claims = json.loads(payload)
        except MALFORMED:
            return Fault.MALFORMED
        if not isinstance(claims, dict):
            return Fault.MALFORMED
        return self._fault_in(claims, now) or self._bearer(claims, now)

    def _signed(self, token: bytes) -> bytes | Fault:
        """What a key of ours signed."""
        try:
            found = jws.extract_compact(token, registry=self._registry)
        except MALFORMED:
            return Fault.MALFORMED
        key = self._key(found.headers())
        if isinstance(key, Fault):
            return key
        try:
            good = jws.validate_compact(found, key, registry=self._registry)
        except MALFORMED:
            return Fault.SIGNATURE
        return found.payload if good else Fault.SIGNATURE

    def _key(self, header: object) -> Key | Fault:
        """The key that a token's header names."""
        if not isinstance(header, dict) or "crit" in header or "b64" in header:
            return Fault.MALFORMED  # what a token calls critical we do not know
        kid, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._rules.algorithms:
            return Fault.ALGORITHM
        if not isinstance(kid, str | None):
            return Fault.MALFORMED
        return self._ring.find(kid, algorithm) or (Fault.NO_KEYS if self._ring.failing else Fault.UNKNOWN_KEY)

    def _fault_in(self, claims: dict[str, Any], now: Instant) -> Fault | None:
        rules = self._rules
        registry = JWTClaimsRegistry(
            now=int(now),
            leeway=rules.leeway,
            iss={"essential": True, "value": rules.issuer},
            aud={"essential": True, "value": rules.audience},
            exp={"essential": True},
        )
        try:
            registry.validate({name: claims[name] for name in (*CLAIM_FAULTS, "exp") if name in claims})
        except ExpiredTokenError:
            return Fault.EXPIRED
        except MissingClaimError as exc:
            return CLAIM_FAULTS.get(exc.claim, Fault.CLAIMS)
        except ClaimError as exc:
            return CLAIM_FAULTS.get(exc.claim, Fault.CLAIMS)
        return None

    def _bearer(self, claims: dict[str, Any], now: Instant) -> Verified | Fault:
        user = claim_of(claims, self._rules.user_claim)
        if isinstance(user, int) and not isinstance(user, bool):
            user = str(user)
        if not isinstance(user, str) or not 0 < len(user) <= LONGEST_NAME:
            return Fault.CLAIMS
        until = min(claims["exp"] + self._rules.leeway, now + BELIEVED_FOR)
        return Verified(plain(user), self._tier(claims), Instant(until))

    def _tier(self, claims: dict[str, Any]) -> TierName | None:
        """The first tier of ours that the claim's values mean; where no values are listed, the first as it stands."""
        told = set(_texts(claim_of(claims, self._rules.tier_claim)))
        if self._rules.tiers:
            return next((tier for value, tier in self._rules.tiers.items() if value in told), None)
        return TierName(plain(min(told))) if len(told) == 1 else None


def claim_of(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by its path where none has that name.

    >>> claim_of({"https://a.b/tier": "x", "realm": {"roles": ["y"]}}, "realm.roles")
    ['y']
    """
    if name in claims:
        return claims[name]
    first, dot, rest = name.partition(".")
    within = claims.get(first)
    return claim_of(within, rest) if dot and isinstance(within, dict) else None


def plain(name: str) -> str:
    """A name in visible ASCII characters; two names never become one.

    >>> plain("josé 100%")
    'jos%C3%A9%20100%25'
    """
    return quote(name, safe=PLAIN, errors="surrogatepass")


def _texts(value: Any) -> Iterator[str]:
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str) and 0 < len(each) <= LONGEST_NAME:
            yield each
