"""Hostile clients of an agent, in a process of their own; each kind counts what took effect that must not."""

import asyncio
import gzip
import json
import os
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from meltguard.api.signed import SigningKey
from meltguard.clock import SystemClock
from support.agents import PLUS, a_lease, signed

STRANGER: Final = SigningKey("test", b"8" * 32)
HOLD: Final = 8.0
"""Seconds that a slow client tries to hold its connection: longer than an agent bears it."""

SLOW_CLIENTS: Final = 300  # of each of three kinds
LARGE_BODIES: Final = 150  # at once, of clients who come again after HOLD
IMAGE: Final = b'{"n": 1}'
HEAD: Final = b"POST /i HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
HIDDEN: Final = b"POST /smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n" + IMAGE
CHUNKED: Final = b"0\r\n\r\n" + HIDDEN

SMUGGLED: Final = {
    "length and chunks": HEAD + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(CHUNKED) + CHUNKED,
    "chunks twice": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + CHUNKED,
    "hidden chunks": HEAD + b"Content-Length: 4\r\nTransfer-Encoding : chunked\r\n\r\n" + CHUNKED,
    "strange chunks": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: xchunked\r\n\r\n" + CHUNKED,
    "two lengths": HEAD + b"Content-Length: 8\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "folded": HEAD + b"X-A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + CHUNKED,
    "bare line ends": HEAD.replace(b"\r\n", b"\n") + b"Content-Length: 4\n\n" + CHUNKED,
    "a null in a name": HEAD + b"Content-Le\x00ngth: 4\r\n\r\n" + CHUNKED,
}
CLAIMED: Final = {
    "as written": b"X-Meltguard-Tier: plus\r\nX-Meltguard-User: pat\r\n",
    "lower case": b"x-meltguard-tier: plus\r\n",
    "underscores": b"X_Meltguard_Tier: plus\r\nx_meltguard_user: pat\r\n",
    "twice": b"X-Meltguard-Tier: free\r\nX-Meltguard-Tier: plus\r\n",
    "spaces": b"X-Meltguard-Tier:   plus  \r\n",
    "cheap": b"X-Meltguard-Images: 0\r\nX-Meltguard-Size: 1x1\r\n",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """An agent's ports."""

    data: int
    control: int
    token: str  # a good one, of the lowest tier
    bad_tokens: dict[str, str]  # that must not be believed

    def bearing(self, raw: bytes) -> bytes:
        """A request of somebody who is known, and whose word about more than that must not count."""
        return raw.replace(b"Host: a", b"Host: a\r\nAuthorization: Bearer " + self.token.encode(), 1)


@dataclass(slots=True)
class Deeds:
    """What was tried, by kind; what a document's push was answered with."""

    tried: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)  # pushes that were answered as obeyed


def forged_documents() -> dict[str, tuple[bytes, dict[str, str]]]:
    """Bodies and headers of pushes that must change nothing; the agent holds epoch 5, revision 9."""
    now = SystemClock().now()
    good = json.loads(signed(a_lease(epoch=9, revision=99)))
    changed = good["document"].replace("free", "plus")
    open_plus = a_lease(PLUS, epoch=9, revision=99)
    plain: dict[str, bytes] = {
        "garbage": b"\xff\xfe not JSON",
        "a stranger's key": signed(open_plus, STRANGER),
        "changed after its signature": json.dumps({**good, "document": changed}).encode(),
        "another policy's": signed(a_lease(epoch=9, policy=a_lease().policy.model_copy(update={"name": "other"}))),
        "another pod's": signed(a_lease(epoch=9, pod_uid="pod-2")),
        "too old": signed(a_lease(epoch=9, issued_at=now - 3600.0)),
        "from the future": signed(a_lease(epoch=9, issued_at=now + 3600.0)),
        "an older leader's": signed(a_lease(epoch=4, revision=999)),
        "an older revision": signed(a_lease(epoch=5, revision=8)),
        "deep": b"[" * 100_000,
        "too large": b'{"a": "' + b"x" * 3_000_000 + b'"}',
        "the same key twice": json.dumps(good).encode()[:-1] + b', "document": "{}"}',
    }
    told: dict[str, tuple[bytes, dict[str, str]]] = {name: (body, {}) for name, body in plain.items()}
    bomb = gzip.compress(b"0" * 50_000_000)
    return {**told, "a gzip bomb": (bomb, {"Content-Encoding": "gzip"})}


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """One connection; whatever the other side does to it is no error of ours."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _drip(port: int, start: bytes, piece: bytes) -> None:
    async with connected(port) as (_, writer):
        writer.write(start)
        ends = asyncio.get_running_loop().time() + HOLD
        while asyncio.get_running_loop().time() < ends:
            await asyncio.sleep(1.0)
            writer.write(piece)
            await writer.drain()


async def slow_head(victim: Victim, _: Deeds) -> None:
    """A head that never ends."""
    await _drip(victim.data, b"POST /i HTTP/1.1\r\nHost: a\r\n", b"X-A: b\r\n")


async def slow_body(victim: Victim, _: Deeds) -> None:
    """A body that never comes."""
    await _drip(victim.data, HEAD + b"Content-Length: 100000\r\n\r\n", b" ")


async def slow_upload(victim: Victim, _: Deeds) -> None:
    """A body that begins so large that it is not read ahead, and then all but stops while a GPU waits for it."""
    head = HEAD.replace(b"application/json", b"image/png") + b"Content-Length: 9000000\r\n\r\n"
    await _drip(victim.data, victim.bearing(head) + b"x" * 1_500_000, b" ")


async def large_body(victim: Victim, _: Deeds) -> None:
    """A body of nearly a mebibyte whose last byte never comes."""
    await _drip(victim.data, victim.bearing(HEAD + b"Content-Length: 1048576\r\n\r\n") + b"x" * 1_000_000, b" ")


async def slow_control(victim: Victim, _: Deeds) -> None:
    """The same at the control port."""
    await _drip(victim.control, b"PUT /v1/limits HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", b" ")


async def once(port: int, raw: bytes) -> bytes:
    """Send bytes on a connection of their own; the beginning of the answer."""
    async with connected(port) as (reader, writer):
        writer.write(raw)
        with suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                return await reader.read(400)
    return b""


def smuggler(raw: bytes) -> "Attack":
    """A request with another one hidden in it."""

    async def attack(victim: Victim, _: Deeds) -> None:
        await once(victim.data, victim.bearing(raw))

    return attack


def claimer(headers: bytes) -> "Attack":
    """A caller who says himself which tier is his."""
    raw = _asking(headers)

    async def attack(victim: Victim, _: Deeds) -> None:
        await once(victim.data, victim.bearing(raw))

    return attack


def _asking(headers: bytes) -> bytes:
    return HEAD + headers + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(IMAGE) + IMAGE


def bearer(token: str) -> "Attack":
    """A caller with a token that must not be believed, who says the same in headers too."""
    raw = _asking(b"Authorization: Bearer " + token.encode() + b"\r\n" + CLAIMED["underscores"])

    async def attack(victim: Victim, deeds: Deeds) -> None:
        if b" 401 " not in (answer := await once(victim.data, raw))[:20] and answer:
            deeds.taken[f"token {token[:30]}"] += 1

    return attack


async def ever_new_keys(victim: Victim, deeds: Deeds) -> None:
    """A caller whose tokens name a new key each time, so that their issuer be asked again and again."""
    head, _, rest = victim.bad_tokens["another's key"].partition(".")
    named = json.loads(urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    made_up = urlsafe_b64encode(json.dumps({**named, "kid": secrets.token_hex(8)}).encode()).rstrip(b"=").decode()
    await bearer(f"{made_up}.{rest}")(victim, deeds)


def forger(name: str, body: bytes, headers: dict[str, str]) -> "Attack":
    """A push that must be refused."""
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    head = f"PUT /v1/limits HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}Content-Length: {len(body)}\r\n\r\n"

    async def attack(victim: Victim, deeds: Deeds) -> None:
        answer = await once(victim.control, head.encode() + body)
        if b" 2" in answer[:12]:
            deeds.taken[name] += 1

    return attack


Attack = Callable[[Victim, Deeds], Awaitable[None]]


async def attacked(victim: Victim, seconds: float, pace: float) -> Deeds:
    """All kinds at once for so long: slow clients hold on, each of the others comes anew after `pace` seconds."""
    deeds = Deeds()
    quick: dict[str, Attack] = {
        **{f"smuggled: {name}": smuggler(raw) for name, raw in SMUGGLED.items()},
        **{f"claimed: {name}": claimer(headers) for name, headers in CLAIMED.items()},
        **{f"token: {name}": bearer(token) for name, token in victim.bad_tokens.items()},
        "token: ever new keys": ever_new_keys,
        **{f"forged: {name}": forger(name, *told) for name, told in forged_documents().items()},
    }
    slow: dict[str, Attack] = {
        "slow head": slow_head,
        "slow body": slow_body,
        "slow control": slow_control,
    }
    ends = asyncio.get_running_loop().time() + seconds

    async def until_the_end(name: str, attack: Attack, rest: float, late: float = 0.0) -> None:
        await asyncio.sleep(late)
        while asyncio.get_running_loop().time() < ends:
            deeds.tried[name] += 1
            with suppress(OSError):
                await attack(victim, deeds)
            await asyncio.sleep(rest)

    async with asyncio.TaskGroup() as tasks:
        for number, (name, attack) in enumerate(quick.items()):
            tasks.create_task(until_the_end(name, attack, pace, pace * number / len(quick)))
        tasks.create_task(until_the_end("slow upload", slow_upload, pace))
        for number in range(LARGE_BODIES):
            tasks.create_task(until_the_end("large body", large_body, HOLD, HOLD / 2 * number / LARGE_BODIES))
        for name, attack in slow.items():
            for number in range(SLOW_CLIENTS):  # from as many places, so each in its own time
                tasks.create_task(until_the_end(name, attack, 0.0, number / SLOW_CLIENTS))
    return deeds


def run(victim: Victim, seconds: float, pace: float) -> Deeds:
    """The same, from a process of its own, which computes only when nobody else does."""
    os.nice(19)
    return asyncio.run(attacked(victim, seconds, pace))
