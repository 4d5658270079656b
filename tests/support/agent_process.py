"""`meltguard agent` as processes of their own, as pods run it: started, killed amid their work, started again."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from meltguard.core.units import PodUid
from meltguard.ports import Target
from support.agents import KEY, POD, POLICY
from support.valkey import free_port

START: Final = (sys.executable, "-c", "from meltguard.cli.main import app; app()", "agent")
STARTS_WITHIN: Final = 60.0


@dataclass(slots=True, kw_only=True)
class AgentProcess:
    """One pod's agent. Its ports and its files stay the same over restarts."""

    pod: PodUid = POD
    folder: Path
    flags: dict[str, str]  # beside those that every agent here has
    words: Sequence[str] = ("--trust-gateway",)  # flags without a value
    prefix: Sequence[str] = ()  # what starts the program
    stderr: int | None = None  # as asyncio.subprocess has it; None: to ours
    data: int = field(default_factory=free_port)
    control: int = field(default_factory=free_port)
    lives: int = 0
    up: bool = False
    _process: Process | None = None

    @property
    def target(self) -> Target:
        """Where it is pushed."""
        return Target(pod=self.pod, name=f"serving/{self.pod}", address="127.0.0.1", port=self.control)

    @property
    def journal(self) -> Path:
        """What it noted, over all its lives."""
        return self.folder / f"{self.pod}.journal"

    @property
    def pid(self) -> int:
        """Of its present life."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start, and wait until it listens."""
        flags = {
            "policy": f"{POLICY.namespace}/{POLICY.name}",
            "pod-uid": self.pod,
            "keys": KEY.public_text(),
            "listen": f"127.0.0.1:{self.data}",
            "control-listen": f"127.0.0.1:{self.control}",
            "state-file": str(self.folder / f"{self.pod}.json"),
            "journal": str(self.journal),
            **self.flags,
        }
        valued = [part for name, value in flags.items() for part in (f"--{name}", value)]
        command = [*self.prefix, *START, *valued, *self.words]
        self._process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=self.stderr)
        assert self._process.stdout is not None
        async with asyncio.timeout(STARTS_WITHIN):
            told = await self._process.stdout.readline()
        assert f"agent of pod {self.pod}".encode() in told, f"it said {told!r}, exit code {self._process.returncode}"
        self.lives += 1
        self.up = True

    async def kill(self) -> None:
        """End it as a crash would: nothing that it was about to say is said."""
        self.up = False
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> int:
        """End it as an update would; its exit code."""
        self.up = False
        assert self._process is not None
        if self._process.returncode is None:
            self._process.terminate()
        return await self._process.wait()


@contextlib.asynccontextmanager
async def alive(*agents: AgentProcess) -> AsyncIterator[None]:
    """All of them; none is left after the block."""
    try:
        await asyncio.gather(*(agent.start() for agent in agents))
        yield
    finally:
        await asyncio.gather(*(agent.kill() for agent in agents))
