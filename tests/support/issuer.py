"""An issuer of tokens: its keys, its key set over HTTP, and tokens of every kind."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from meltguard.agent.token_rules import TokenRules
from meltguard.clock import SystemClock
from support.loopback import answering

ISSUER, AUDIENCE = "https://login.example", "image-gen"
TIERS = {"gold": "plus", "basic": "free"}
KINDS: dict[str, Callable[[str], Key]] = {
    "RS256": lambda kid: RSAKey.generate_key(2048, {"kid": kid}),
    "ES256": lambda kid: ECKey.generate_key("P-256", {"kid": kid}),
    "Ed25519": lambda kid: OKPKey.generate_key("Ed25519", {"kid": kid}),
}


def a_key(kid: str = "k1", algorithm: str = "ES256") -> Key:
    """A private key."""
    return KINDS[algorithm](kid)


def key_set(*keys: Key, **also: Any) -> bytes:
    """Their public halves, as an issuer publishes them."""
    return json.dumps({"keys": [{**key.as_dict(private=False), **also} for key in keys]}).encode()


def claims(**changes: Any) -> dict[str, Any]:
    """What a good token says; None takes a claim away."""
    now = int(SystemClock().now())
    told = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "tier": "gold", "iat": now, "exp": now + 600, **changes}
    return {name: value for name, value in told.items() if value is not None}


def a_token(key: Key, algorithm: str = "ES256", header: dict[str, Any] | None = None, **changes: Any) -> str:
    """A token signed by a key."""
    head = {"alg": algorithm, "kid": key.get("kid"), **(header or {})}
    return jwt.encode(head, claims(**changes), key, algorithms=[algorithm])


def b64(told: bytes) -> str:
    """Base64 as tokens have it."""
    return base64.urlsafe_b64encode(told).rstrip(b"=").decode()


def unsigned(header: Any, payload: bytes, signature: bytes = b"") -> str:
    """A token that nobody signed."""
    return f"{b64(json.dumps(header).encode())}.{b64(payload)}.{b64(signature)}"


def public_key_as_secret(key: Key, payload: bytes) -> str:
    """The oldest trick: HMAC with what everybody knows."""
    body = f"{b64(json.dumps({'alg': 'HS256', 'kid': key.get('kid')}).encode())}.{b64(payload)}"
    secret = key.as_pem(private=False)  # type: ignore[union-attr] # an asymmetric key has one
    return f"{body}.{b64(hmac.new(secret, body.encode(), hashlib.sha256).digest())}"


def bearing_its_own_key(key: Key) -> str:
    """A token that brings along the key to verify it with."""
    return a_token(key, header={"jwk": key.as_dict(private=False), "jku": "https://evil.example/jwks.json"})


def bad_tokens(key: Key) -> dict[str, str]:
    """Tokens that must name nobody, by what is wrong with them; `key` is the issuer's, for the gold tier."""
    now, good = int(SystemClock().now()), a_token(key)
    head, body, signature = good.split(".")
    return {
        "another's key": a_token(a_key(str(key.get("kid")))),
        "a changed claim": f"{head}.{b64(json.dumps(claims(sub='root')).encode())}.{signature}",
        "no signature": f"{head}.{body}.",
        "alg none": unsigned({"alg": "none", "kid": key.get("kid")}, json.dumps(claims()).encode()),
        "HMAC with the public key": public_key_as_secret(key, json.dumps(claims()).encode()),
        "its own key": bearing_its_own_key(a_key(str(key.get("kid")))),
        "replayed after its end": a_token(key, iat=now - 900, exp=now - 300),
        "of another issuer": a_token(key, iss="https://evil.example"),
        "for another service": a_token(key, aud="mail"),
        "too large": a_token(key, pad="x" * 12_000),
        "nested": f"{b64(b'[' * 5_000)}.{body}.{signature}",
        "no token": "sk-abc",
    }


def rules(keys: str, **changes: Any) -> TokenRules:
    """What an agent believes of this issuer."""
    return TokenRules(**{"keys": keys, "issuer": ISSUER, "audience": AUDIENCE, "tiers": TIERS, **changes})


@dataclass
class Issuer:
    """Answers with its key set, or as it is told."""

    body: bytes
    url: str = ""
    status: int = 200
    asked: int = 0
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    headers: dict[str, str] = field(default_factory=dict)

    async def answer(self, _request: web.Request) -> web.Response:
        """The set."""
        self.asked += 1
        await self.answers.wait()
        return web.Response(status=self.status, body=self.body, headers=self.headers)


@asynccontextmanager
async def issuing(*keys: Key) -> AsyncIterator[Issuer]:
    """An issuer on loopback until the block ends."""
    issuer = Issuer(key_set(*keys))
    issuer.answers.set()
    async with answering(web.get("/jwks.json", issuer.answer)) as port:
        issuer.url = f"http://127.0.0.1:{port}/jwks.json"
        yield issuer
