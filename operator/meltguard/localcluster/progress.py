"""What the user sees while something takes longer than two seconds."""

import sys
import time
from typing import Final, Protocol, TextIO

from rich.console import Console
from rich.status import Status
from typing_extensions import override

from meltguard.core.units import Seconds

PLAIN_EVERY: Final = Seconds(10.0)


class Progress(Protocol):
    """Told what is being done; called from one thread at a time."""

    def begin(self, what: str) -> None:
        """Something starts: `building etcd 3.6.8`."""
        ...

    def update(self, detail: str) -> None:
        """How far it is; may be called as often as one likes."""
        ...

    def end(self, outcome: str) -> None:
        """It is over: `built`, `failed`."""
        ...


class SilentProgress:
    """Shows nothing."""

    def begin(self, what: str) -> None:
        """Nothing to show."""

    def update(self, detail: str) -> None:
        """Nothing to show."""

    def end(self, outcome: str) -> None:
        """Nothing to show."""


class PlainProgress:
    """Lines for a log: one at the start, one at the end, one every ten seconds between."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._what = ""
        self._began = self._told = time.monotonic()

    def begin(self, what: str) -> None:
        """Write what starts."""
        self._what = what
        self._began = self._told = time.monotonic()
        self._write(f"{what} ...")

    def update(self, detail: str) -> None:
        """Write how far it is, if the last line is ten seconds old."""
        if time.monotonic() - self._told >= PLAIN_EVERY:
            self._told = time.monotonic()
            self._write(f"{self._what}: {detail} ({self._elapsed()})")

    def end(self, outcome: str) -> None:
        """Write how it ended."""
        self._write(f"{self._what}: {outcome} ({self._elapsed()})")

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._began:.0f} s"

    def _write(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class LiveProgress(PlainProgress):
    """A spinner on a terminal; what has ended stays as a line."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._console = Console(file=stream)
        self._status: Status | None = None

    @override
    def begin(self, what: str) -> None:
        """Show a spinner beside what starts."""
        self._what = what
        self._began = time.monotonic()
        self._status = self._console.status(what)
        self._status.start()

    @override
    def update(self, detail: str) -> None:
        """Show how far it is."""
        if self._status is not None:
            self._status.update(f"{self._what}: {detail} ({self._elapsed()})")

    @override
    def end(self, outcome: str) -> None:
        """Replace the spinner by a line."""
        if self._status is not None:
            self._status.stop()
            self._status = None
        super().end(outcome)


def progress_on(stream: TextIO | None = None) -> Progress:
    """A spinner where the stream (stderr unless told) is a terminal, else plain lines."""
    stream = stream or sys.stderr
    return LiveProgress(stream) if stream.isatty() else PlainProgress(stream)
