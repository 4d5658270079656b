"""An agent before an image server that tells what reached it, and an issuer of tokens: all on real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from joserfc.jwk import Key

from meltguard.agent.proxy import proxying
from meltguard.agent.server import ServingAgent, serving
from meltguard.agent.settings import Callers
from meltguard.core.units import Seconds, TierName
from support.agents import FREE, PLUS, Told, a_lease, agent_settings, look, push, told_of
from support.eventually import soon
from support.issuer import Issuer, issuing, rules
from support.loopback import answering, everywhere


class Mirror:
    """An image server that tells what reached it."""

    def __init__(self) -> None:
        self.heads: list[list[tuple[str, str]]] = []

    async def answer(self, request: web.Request) -> web.Response:
        """An image."""
        self.heads.append([(name.lower(), value) for name, value in request.headers.items()])
        return web.Response(body=b"image")

    def said(self, *named: str) -> list[tuple[str, str]]:
        """What the last request's headers said under these names, in any spelling."""
        return [(name, value) for name, value in self.heads[-1] if name.replace("_", "-") in named]


class Ground:
    """An agent before a mirror, and its issuer."""

    def __init__(self, running: ServingAgent, mirror: Mirror, issuer: Issuer, session: aiohttp.ClientSession) -> None:
        self.running, self.mirror, self.issuer, self._session = running, mirror, issuer, session

    async def ask(self, token: str | None, **headers: str) -> Told:
        """Ask for an image with a token."""
        bearing = {} if token is None else {"Authorization": f"Bearer {token}"}
        url = f"http://127.0.0.1:{self.running.data.port}/v1/images"
        async with self._session.post(url, json={"n": 1}, headers={**bearing, **headers}) as answer:
            return await told_of(answer)

    async def raw(self, *lines: str) -> bytes:
        """Ask with lines of one's own; the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.running.data.port)
        head = "\r\n".join(("POST /v1/images HTTP/1.1", "Host: a", "Content-Length: 0", *lines, "", ""))
        writer.write(head.encode("utf-8"))
        async with soon():
            told = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        return told

    async def metric(self, name: str) -> float:
        """A sample of the agent's own metrics."""
        text: str = (await look(self._session, self.running, "/metrics")).body
        return float(next(line for line in text.splitlines() if line.startswith(name)).rpartition(" ")[2])


@asynccontextmanager
async def ground(*keys: Key, journal: Path | None = None, **changes: Any) -> AsyncIterator[Ground]:
    """Everything, until the block ends."""
    mirror = Mirror()
    upstream = answering(everywhere(mirror.answer))
    async with upstream as port, issuing(*keys) as issuer, aiohttp.ClientSession() as session:
        believed = rules(issuer.url, **{"required": True, "ask_again_after": Seconds(0.2), **changes})
        callers = Callers(tokens=believed, default_tier=TierName("free"))
        settings = agent_settings(callers=callers, journal=journal)
        async with proxying(f"http://127.0.0.1:{port}") as proxy, serving(settings, proxy) as running:
            await push(session, running, a_lease(FREE, PLUS))
            yield Ground(running, mirror, issuer, session)
