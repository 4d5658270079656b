"""`meltguard agent` as a process."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import aiohttp

from support.agents import KEY, a_lease, signed
from support.valkey import free_port

START = "from meltguard.cli.main import app; app()"


class AgentProcess:
    """One process and its ports."""

    def __init__(self, folder: Path, upstream: str, pod: str = "pod-1") -> None:
        self._folder, self._upstream, self.pod = folder, upstream, pod
        self.data, self.control = free_port(), free_port()
        self.process: Process | None = None
        self.more: list[str] = []  # flags

    async def start(self) -> None:
        """Start and wait until it listens."""
        flags = {
            "policy": "serving/image-gen",
            "upstream": self._upstream,
            "pod-uid": self.pod,
            "keys": KEY.public_text(),
            "listen": f"127.0.0.1:{self.data}",
            "control-listen": f"127.0.0.1:{self.control}",
            "state-file": str(self._folder / f"{self.pod}-state.json"),
            "journal": str(self._folder / f"{self.pod}-journal.jsonl"),
        }
        arguments = [part for name, value in flags.items() for part in (f"--{name}", value)]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", START, "agent", *arguments, *self.more, "--trust-gateway", stdout=PIPE
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            assert f"agent of pod {self.pod}".encode() in await self.process.stdout.readline()

    async def push(self, session: aiohttp.ClientSession, revision: int) -> int:
        """Push a revision; the answer's status."""
        url = f"http://127.0.0.1:{self.control}/v1/limits"
        async with session.put(url, data=signed(a_lease(revision=revision))) as answer:
            return answer.status

    async def ask(self, session: aiohttp.ClientSession) -> tuple[int, bytes]:
        """Ask for an image."""
        headers = {"X-Meltguard-Tier": "free"}
        async with session.post(f"http://127.0.0.1:{self.data}/i", json={"n": 1}, headers=headers) as answer:
            return answer.status, await answer.read()

    async def end(self, number: signal.Signals) -> int:
        """End it; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        async with asyncio.timeout(15):
            return await self.process.wait()
