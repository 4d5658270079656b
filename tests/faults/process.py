"""The operator as a Deployment would keep it: one process, started again when it ends."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from faults.fast_clock import FastClock
from meltguard.localcluster.launching import launched

RESTART_AFTER: Final = 0.2
"""Seconds; a kubelet's first restart comes at once."""

TESTS: Final = Path(__file__).resolve().parent.parent

STOP_LIMIT: Final = 10.0
"""Seconds from SIGTERM to the end: matrix row 15."""

PROBE_EVERY: Final = 1.0
Silence = tuple[float, str]
"""When a liveness probe failed, and what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How the process is started."""

    kubeconfig: Path
    config: Path
    keys: Path
    namespace: str
    listen: str  # host:port
    log: Path
    source: Path | None = None  # another source tree than the checkout's, for mutants
    clock: FastClock | None = None  # None: the machine's

    def command(self) -> list[str]:
        """The chart's own arguments."""
        command = [
            *(sys.executable, "-P", *self._entry()),
            f"--namespace={self.namespace}",
            *("--lease=meltguard", f"--config={self.config}", f"--signing-keys={self.keys}"),
            *(f"--listen={self.listen}", f"--identity={self.listen}"),
        ]
        return launched(command)

    def environment(self) -> Mapping[str, str]:
        """What the process finds; KUBECONFIG points at the proxy."""
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return {**kept, **self._path(), "KUBECONFIG": str(self.kubeconfig), "PYTHONDONTWRITEBYTECODE": "1"}

    def _entry(self) -> list[str]:
        """Production has no way to another clock than the machine's: that is a program of the tests' own."""
        if self.clock is None:
            return ["-c", "from meltguard.cli.main import app; app()", "operator"]
        return ["-m", "faults.fast_operator", f"--began={self.clock.began}", f"--rate={self.clock.rate}"]

    def _path(self) -> Mapping[str, str]:
        places = [str(self.source)] if self.source else []
        if self.clock is not None:
            places += [str(TESTS), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        return {"PYTHONPATH": os.pathsep.join(place for place in places if place)} if places else {}


@dataclass(slots=True)
class OperatorProcess:
    """Keeps one operator running until it is closed."""

    launch: Launch
    died: Callable[[], object]  # told at each SIGKILL of ours, before the restart; may be awaited
    starts: int = 0
    exits: list[int] = field(default_factory=list)
    failed_probes: list[Silence] = field(default_factory=list)
    slowest_stop: float = 0.0
    _process: asyncio.subprocess.Process | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _held: asyncio.Event = field(default_factory=asyncio.Event)
    _up: asyncio.Event = field(default_factory=asyncio.Event)

    def open(self) -> None:
        """Begin to keep it running."""
        self._held.set()
        self._tasks = [asyncio.create_task(self._keep()), asyncio.create_task(self._probe())]

    async def close(self) -> None:
        """End it for good."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    @property
    def opened(self) -> bool:
        """Whether it is kept running, or was."""
        return bool(self._tasks)

    @property
    def pid(self) -> int:
        """Of the running process; 0 where none runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else 0

    async def kill(self) -> None:
        """As when memory runs out."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            await self._process.wait()
            await _maybe(self.died())

    async def terminate(self) -> None:
        """As a rollout does; it is killed where it takes too long, and that is remembered."""
        if self._process is None or self._process.returncode is not None:
            return
        process, began = self._process, time.monotonic()
        process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_LIMIT * 2):
                await process.wait()
        self.slowest_stop = max(self.slowest_stop, time.monotonic() - began)
        if process.returncode is None:
            await self.kill()

    async def restart(self) -> None:
        """Start anew as `launch` says now; returns when it is healthy, or has had twenty seconds for it."""
        self._up.clear()
        await self.kill()
        with contextlib.suppress(TimeoutError):
            await self.up(20.0)

    def signal(self, number: signal.Signals) -> None:
        """Freeze or thaw it."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def hold(self) -> None:
        """Do not start it again until `go_on`."""
        self._held.clear()

    def go_on(self) -> None:
        """Start it again when it has ended."""
        self._held.set()

    async def up(self, within: float = 60.0) -> None:
        """Return once its liveness probe answers. Raises TimeoutError."""
        async with asyncio.timeout(within):
            await self._up.wait()

    async def _keep(self) -> None:
        with self.launch.log.open("ab") as log:
            while True:
                await self._held.wait()
                self.starts += 1
                self._process = await asyncio.create_subprocess_exec(
                    *self.launch.command(), env=dict(self.launch.environment()), stdout=log, stderr=log
                )
                self.exits.append(await self._process.wait())
                self._up.clear()
                await asyncio.sleep(RESTART_AFTER)

    async def _probe(self) -> None:
        """What a kubelet asks, each second."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3.0)) as session:
            while True:
                await asyncio.sleep(PROBE_EVERY)
                said = await self._healthz(session)
                if not said:
                    self._up.set()
                elif self._up.is_set() and self.pid:
                    self.failed_probes.append((time.monotonic(), said))

    async def _healthz(self, session: aiohttp.ClientSession) -> str:
        """Why it is not healthy; "" where it is."""
        try:
            async with session.get(f"http://{self.launch.listen}/healthz") as answer:
                return "" if answer.ok else await answer.text()
        except (aiohttp.ClientError, TimeoutError) as exc:
            return repr(exc)


async def _maybe(result: object) -> None:
    if asyncio.iscoroutine(result):
        await result
