"""Agents as processes of their own, as pods run them: started, killed in the midst of their work, started again."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from meltguard.core.units import PodUid
from meltguard.ports import Target
from support.agents import KEY, POLICY
from support.valkey import free_port

START: Final = "from meltguard.cli.main import app; app()"
STARTS_WITHIN: Final = 60.0


@dataclass(slots=True, kw_only=True)
class AgentProcess:
    """One pod's agent. Its ports and its files stay the same over restarts."""

    pod: PodUid
    folder: Path
    flags: dict[str, str]  # beside those that every agent here has
    prefix: Sequence[str] = ()  # what starts the program
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
        words = [part for name, value in flags.items() for part in (f"--{name}", value)]
        command = [*self.prefix, sys.executable, "-c", START, "agent", *words, "--trust-gateway"]
        command.append("--journal-names-users")
        self._process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=DEVNULL)
        assert self._process.stdout is not None
        async with asyncio.timeout(STARTS_WITHIN):
            told = await self._process.stdout.readline()
        assert told, f"the agent of {self.pod} ended with {self._process.returncode}"
        self.lives += 1
        self.up = True

    async def kill(self) -> None:
        """End it as a crash would: nothing that it was about to say is said."""
        self.up = False
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> None:
        """End it as an update would."""
        self.up = False
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()


@contextlib.asynccontextmanager
async def running(agents: Sequence[AgentProcess]) -> AsyncIterator[None]:
    """All of them; none is left after the block."""
    try:
        await asyncio.gather(*(agent.start() for agent in agents))
        yield
    finally:
        await asyncio.gather(*(agent.kill() for agent in agents))
