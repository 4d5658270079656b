"""The request journal: one JSON line for each request that was admitted or refused. No prompts, no tokens."""

import asyncio
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol

from meltguard.core.units import Instant, Seconds
from meltguard.errors import InvalidInput

log = logging.getLogger(__name__)

MOST_LINES: Final = 20_000  # waiting to be written; more are dropped and counted
WRITE_EVERY: Final = Seconds(0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One request, written when it has ended."""

    at: Instant  # when it came
    pod: str
    tier: str
    user: str  # a hash, unless the agent was told to write names
    images: int
    units: float
    verdict: str  # admitted, refused, gone (the client left while waiting)
    reason: str  # of a refusal, else empty
    would_refuse: str  # while observing: why it would have been refused, else empty
    wait: Seconds  # in the queue
    took: Seconds  # in the GPU
    status: int  # of the answer; 0 where none was sent
    delivered: bool  # images reached the client; only then they count against a daily quota
    source: str  # Lease, Baseline, OwnGpu at the decision
    epoch: int
    revision: int
    state: str  # the tier's state in force
    rate: float | None  # the tier's rate in force at this pod, units a second
    feature: str = ""  # that the request used
    made: int | None = None  # of the images asked for, where the image server says so; the rest cost nothing

    def to_json_line(self) -> str:
        """The entry in one line."""
        return json.dumps(asdict(self), separators=(",", ":")) + "\n"

    @classmethod
    def parse(cls, line: str) -> "JournalEntry":
        """Read a line.

        Raises:
            InvalidInput: it is no entry.
        """
        try:
            return cls(**json.loads(line))
        except (ValueError, TypeError) as exc:
            raise InvalidInput(f"not a journal line: {exc}; the file may be cut off at a crash") from exc


class Line(Protocol):
    """What is written."""

    def to_json_line(self) -> str:
        """In one line, with its end."""
        ...


class Journal:
    """Writes lines behind the loop's back: `note` never waits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: list[Line] = []
        self._some = asyncio.Event()
        self.dropped = 0

    def note(self, entry: Line) -> None:
        """Have an entry written soon."""
        if len(self._entries) >= MOST_LINES:
            self.dropped += 1
            return
        self._entries.append(entry)
        self._some.set()

    async def run(self) -> None:
        """Write until cancelled, then write the rest. A write that has begun is waited for: it has the entries."""
        writing: asyncio.Future[None] | None = None
        try:
            while True:
                await self._some.wait()
                await asyncio.sleep(WRITE_EVERY)  # many entries, one write
                writing = asyncio.ensure_future(asyncio.to_thread(self._write, self._taken()))
                await asyncio.shield(writing)
        finally:
            if writing is not None:
                await writing
            self._write(self._taken())

    def _taken(self) -> list[Line]:
        taken, self._entries = self._entries, []
        self._some.clear()
        return taken

    def _write(self, entries: list[Line]) -> None:
        """A full disk costs journal lines, which are counted, and nothing else."""
        if not entries:
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write("".join(entry.to_json_line() for entry in entries))
        except OSError as exc:
            self.dropped += len(entries)
            log.warning("journal not written", extra={"path": str(self._path), "error": str(exc)})
