"""One run of a container's process."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from meltguard.core.units import Seconds
from meltguard.localcluster.launching import launched


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What to run."""

    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    log: Path


class ContainerProcess:
    """A process in a session of its own; the kernel ends it with this runner."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, run: Run) -> "ContainerProcess":
        """Start it; its output is added to the log."""
        with run.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *launched(run.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=run.directory,
                env=run.environment,
                start_new_session=True,
            )
        return cls(process)

    async def wait(self) -> int:
        """Its exit code, once it has ended: 128 + n where signal n ended it."""
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    async def end(self, grace: Seconds) -> None:
        """SIGTERM, then SIGKILL to its whole session when the grace is over."""
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(grace):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """SIGKILL to its whole session."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # all of them have ended
