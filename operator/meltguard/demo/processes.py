"""The demo's own processes: started so that they cannot outlive it, their words kept in files, ended in order."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from meltguard.core.units import Seconds
from meltguard.errors import Unavailable
from meltguard.localcluster.launching import launched
from meltguard.localcluster.watched import tail

LOOK_EVERY: Final = Seconds(0.05)
END_WITHIN: Final = Seconds(8.0)


class Child:
    """One running process."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def check(self) -> None:
        """Raises Unavailable where it ended with an error; the text has its last words."""
        code = self._process.poll()
        if code not in {None, 0}:
            raise Unavailable(f"{self.name} ended with {code}. The end of {self._log}:\n{tail(self._log)}")

    def end(self) -> None:
        """Ask it to end, insist after a while; returns when it is gone."""
        self._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + END_WITHIN
        while self.running and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY)
        self._process.kill()
        self._process.wait()


@contextmanager
def child(module: str, arguments: Sequence[str], log: Path) -> Iterator[Child]:
    """`python -m MODULE ARGUMENTS` while the block runs. Start it from a thread that outlives the block.

    Raises:
        Unavailable: it cannot be started.
    """
    with log.open("ab") as words:
        process = subprocess.Popen(  # noqa: S603 - our own module under our own interpreter
            launched([sys.executable, "-m", module, *arguments]),
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # Ctrl-C is the demo's to handle, in order
        )
    started = Child(module.rpartition(".")[2], process, log)
    try:
        yield started
    finally:
        started.end()
