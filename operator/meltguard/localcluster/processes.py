"""The plane's children: started so that they cannot outlive us, watched, stopped, started again."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput, Unavailable
from meltguard.localcluster.cache import private_directory
from meltguard.localcluster.launching import launched
from meltguard.localcluster.watched import tail

LOOK_EVERY: Final = Seconds(0.05)
STOP_LIMIT: Final = Seconds(0.5)
"""Enough for all but the API server, which would wait for its watchers; what it has answered is in store and log."""

KILL_LIMIT: Final = Seconds(10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One program of the plane."""

    name: str
    address: str  # what it answers on; for people
    command: tuple[str, ...]
    is_ready: Callable[[], bool]  # asked again and again; never raises for "not yet"
    ready_limit: Seconds = Seconds(120.0)  # a machine that builds meanwhile is slow
    stop_limit: Seconds = STOP_LIMIT  # from SIGTERM to SIGKILL
    environment: Mapping[str, str] = field(default_factory=dict)


class Children:
    """The running components.

    One thread starts them all and lives until the end, because the kernel's parent-death signal is tied to the thread
    that forked.
    """

    def __init__(self, directory: Path) -> None:
        """`directory` holds data; logs go to its `logs/`."""
        self.logs = private_directory(directory / "logs")
        self._directory = directory
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="plane-starter")
        self._components: dict[str, Component] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()

    def start(self, component: Component) -> None:
        """Start it; does not wait until it is ready."""
        self._components[component.name] = component
        self._running[component.name] = self._starter.submit(self._spawn, component).result()

    def await_ready(self, name: str) -> None:
        """Wait until it is ready.

        Raises:
            Unavailable: it ended, or is not ready in time; the text has its log's tail.
        """
        component, process = self._components[name], self._running[name]
        deadline = time.monotonic() + component.ready_limit
        while not component.is_ready():
            code = process.poll()
            if code is not None:
                raise self._trouble(name, f"ended with {code} before it was ready")
            if time.monotonic() > deadline:
                raise self._trouble(name, f"is not ready after {component.ready_limit:.0f} s")
            time.sleep(LOOK_EVERY)

    def restart(self, name: str) -> None:
        """End it, if it still runs, start it anew and wait until it is ready.

        Raises:
            InvalidInput: there is no such component.
            Unavailable: it does not become ready.
        """
        if name not in self._components:
            raise InvalidInput(f"the plane has no component {name!r}; it has {', '.join(self._components)}")
        stop([self._running[name]], self._components[name].stop_limit)
        self.start(self._components[name])
        self.await_ready(name)

    def pids(self) -> dict[str, int]:
        """Process id of every component that runs."""
        return {name: process.pid for name, process in self._running.items() if process.poll() is None}

    def components(self) -> list[Component]:
        """All of them, in the order of their start."""
        return list(self._components.values())

    def stop_all(self) -> None:
        """End every component and wait until all are gone."""
        runner = self._running.pop("runner", None)
        if runner is not None:  # it ends its pods' processes while the API server still answers
            stop([runner], self._components["runner"].stop_limit)
        stop(list(self._running.values()), STOP_LIMIT)
        self._starter.shutdown()

    def _spawn(self, component: Component) -> subprocess.Popen[bytes]:
        with (self.logs / f"{component.name}.log").open("ab") as log:
            return subprocess.Popen(
                launched(component.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(self._directory), **component.environment},
                start_new_session=True,  # Ctrl-C in the terminal is ours to handle, in order
            )

    def _trouble(self, name: str, what: str) -> Unavailable:
        log = self.logs / f"{name}.log"
        return Unavailable(f"{name} {what}. The end of {log}:\n{tail(log)}")


def stop(processes: list[subprocess.Popen[bytes]], limit: Seconds) -> None:
    """SIGTERM all, give them until the limit, SIGKILL the rest; returns when all are gone."""
    for process in processes:
        _signal(process, signal.SIGTERM)
        _signal(process, signal.SIGCONT)  # a stopped process would not hear the first
    deadline = time.monotonic() + limit
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
    for process in processes:
        _signal(process, signal.SIGKILL)
    for process in processes:
        process.wait(KILL_LIMIT)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Popen looks whether it is still our child, so that no stranger with the same number is hit."""
    process.send_signal(number)


def lives(pid: int) -> bool:
    """Whether anything of this process still runs.

    A killed program's first thread may be dead while others still hold its sockets; and one that is dead altogether
    may wait for long until its parent takes notice.
    """
    process = Path(f"/proc/{pid}")
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        return state not in {"Z", "X"} or len(list((process / "task").iterdir())) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False
