"""Builders for agents under test: documents, settings, a clock, an image server."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from meltguard.agent.asgi import Receive, Scope, Send
from meltguard.agent.control import LONGEST_POLL
from meltguard.agent.server import ServingAgent
from meltguard.agent.settings import Address, AgentSettings, Callers, PolicyKey
from meltguard.agent.turns import Ticket
from meltguard.api.limit_document import DocumentKind, LimitDocument, PolicyRef, QuotaRule, TierLimit, TierState
from meltguard.api.signed import PublicKeys, SigningKey
from meltguard.clock import SystemClock
from meltguard.core.units import Instant, PodUid, Seconds
from support.eventually import PATIENCE

KEY = SigningKey("test", b"7" * 32)
POLICY = PolicyRef(namespace="serving", name="image-gen", uid="policy-1")
POD = PodUid("pod-1")
LOOPBACK = Address("127.0.0.1", 0)
FREE = TierLimit(name="free", priority=0, queue=10, max_wait=5.0)
PLUS = TierLimit(name="plus", priority=10, queue=10, max_wait=5.0)

SHORT_OF_A_POLL = LONGEST_POLL / PATIENCE - 0.3
"""Seconds: what is answered only when a report was held to the end takes longer than that, PATIENCE included."""


@dataclass
class ManualClock:
    """A clock that stands still until told."""

    wall: float = 1_800_000_000.0
    steady: float = 1_000.0

    def now(self) -> Instant:
        """The time of day."""
        return Instant(self.wall)

    def elapsed(self) -> Seconds:
        """The steady clock."""
        return Seconds(self.steady)

    def pass_by(self, seconds: float) -> None:
        """Move both on."""
        self.wall += seconds
        self.steady += seconds


def a_lease(*tiers: TierLimit, **changes: Any) -> LimitDocument:
    """A document for POD, issued now."""
    fields: dict[str, Any] = {
        "kind": DocumentKind.ENFORCE,
        "policy": POLICY,
        "pod_uid": POD,
        "epoch": 1,
        "revision": 1,
        "issued_at": SystemClock().now(),
        "ttl": 120.0,
        "tiers": tiers or (FREE, PLUS),
    }
    return LimitDocument(**{**fields, **changes})


def a_baseline(*tiers: TierLimit, **changes: Any) -> LimitDocument:
    """A baseline of the same policy."""
    return a_lease(*tiers, **{"kind": DocumentKind.BASELINE, "pod_uid": "", "ttl": None, **changes})


def signed(document: LimitDocument, key: SigningKey = KEY) -> bytes:
    """What goes over the wire."""
    return key.sign(document).model_dump_json(by_alias=True).encode()


def a_free_tier(images: int = 3, **changes: Any) -> TierLimit:
    """A tier with a daily quota."""
    fields = {**FREE.model_dump(), "quota": QuotaRule(images=images), **changes}
    return TierLimit(**fields)


def limited(tier: TierLimit, state: TierState, rate: float, **changes: Any) -> TierLimit:
    """A tier with a rate."""
    return tier.model_copy(update={"state": state, "rate": rate, **changes})


def agent_settings(**changes: Any) -> AgentSettings:
    """An agent on loopback that trusts its gateway."""
    settings = AgentSettings(
        policy=PolicyKey(POLICY.namespace, POLICY.name),
        pod_uid=POD,
        keys=PublicKeys.parse(KEY.public_text()),
        listen=LOOPBACK,
        control=LOOPBACK,
        callers=Callers(trust_gateway=True),
    )
    return replace(settings, **changes)


@dataclass
class ImageServer:
    """An ASGI app that makes images slowly, one answer each, and knows how many it made at once."""

    seconds: float = 0.05
    status: int = 200
    now: int = 0
    most: int = 0
    made: int = 0
    began: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Event | None = None  # images are made once it is set; None: at once

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Make one image."""
        self.now += 1
        self.most = max(self.most, self.now)
        self.began.set()
        try:
            if self.held is not None:
                await self.held.wait()
            await asyncio.sleep(self.seconds)
            self.made += 1
            await send({"type": "http.response.start", "status": self.status, "headers": []})
            await send({"type": "http.response.body", "body": b"image"})
        finally:
            self.now -= 1


@dataclass(frozen=True)
class Told:
    """An answer, read whole."""

    status: int
    headers: dict[str, str]
    body: Any


async def ask(session: aiohttp.ClientSession, running: ServingAgent, tier: str = "free", **options: Any) -> Told:
    """Ask for one image."""
    user = options.pop("user", "ann")
    headers = {"X-Meltguard-Tier": tier, "X-Meltguard-User": user, **options.pop("headers", {})}
    url = f"http://{running.data.host}:{running.data.port}/v1/images"
    async with session.post(url, json=options.pop("json", {"n": 1}), headers=headers, **options) as answer:
        return await told_of(answer)


async def push(session: aiohttp.ClientSession, running: ServingAgent, document: LimitDocument | bytes) -> Told:
    """Push a document."""
    raw = document if isinstance(document, bytes) else signed(document)
    url = f"http://{running.control.host}:{running.control.port}/v1/limits"
    async with session.put(url, data=raw) as answer:
        return await told_of(answer)


async def look(session: aiohttp.ClientSession, running: ServingAgent, path: str = "/v1/report") -> Told:
    """Read the control interface."""
    async with session.get(f"http://{running.control.host}:{running.control.port}{path}") as answer:
        return await told_of(answer)


async def told_of(answer: aiohttp.ClientResponse) -> Told:
    """Read an answer whole."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    body = await (answer.json(content_type=None) if "json" in answer.content_type else answer.text())
    return Told(answer.status, headers, body)


class Patient:
    """A client that asks, and stays."""

    def watch(self, _when_gone: Callable[[], None]) -> None:
        """It does not leave."""

    def waits(self, _ticket: Ticket) -> None:
        """It has a place in the line."""
