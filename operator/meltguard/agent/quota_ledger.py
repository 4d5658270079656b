"""Reservations under way, in a file beside the state: who is killed leaves them to whoever runs in the pod next.

A reservation is written when it is made, and once more, as delivered, before its first byte goes to the client. So the
next agent knows at once what the store was not told: what was delivered is spent, all else is given back. Without it
they would be held until they end by themselves, and delivered images be had again then.

The file is emptied whenever nothing is under way. A write costs some microseconds and waits for no disk: what a killed
process has written the machine still knows; only a machine that dies forgets it, and its pods with it.
"""

import fcntl
import logging
import os
from pathlib import Path
from typing import Final

import msgspec

from meltguard.agent.quota_store import Settlement

log = logging.getLogger(__name__)

LEAST_BYTES: Final = 65_536  # a smaller file is never written anew
MOST_READ: Final = 67_108_864
DECODER: Final = msgspec.json.Decoder(Settlement)


class QuotaLedger:
    """One agent's reservations under way. Without a path it keeps none, nor where another process has the file."""

    def __init__(self, path: Path | None) -> None:
        self._file = _locked(path) if path is not None else None
        self._open: dict[str, Settlement] = _read(self._file) if self._file is not None else {}
        self._written = self._after_last = 0
        self.left_behind = tuple(self._open.values())  # by an agent that was killed, as they are to be settled
        self._write_anew()

    def made(self, settlement: Settlement) -> None:
        """Images were set aside; this gives them back."""
        self._note(settlement)

    def delivers(self, settlement: Settlement) -> None:
        """The client has them from now on."""
        noted = self._open.get(_claim(settlement))
        if noted is not None and noted != settlement:
            self._note(settlement)

    def told(self, settlement: Settlement) -> None:
        """The store knows how it ended, or never will."""
        if self._open.pop(_claim(settlement), None) is None:
            return
        if (not self._open and self._written) or self._written > max(LEAST_BYTES, 2 * self._after_last):
            self._write_anew()

    def close(self) -> None:
        """Let the next one have the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _note(self, settlement: Settlement) -> None:
        if self._file is not None:
            self._open[_claim(settlement)] = settlement
            self._write(self._file, _line(settlement))

    def _write_anew(self) -> None:
        if self._file is None:
            return
        self._written = 0
        try:
            os.ftruncate(self._file, 0)
        except OSError as exc:
            log.warning("reservations not forgotten", extra={"error": str(exc)})
        if self._open:
            self._write(self._file, b"".join(map(_line, self._open.values())))
        self._after_last = self._written

    def _write(self, file: int, lines: bytes) -> None:
        """A full disk costs the knowledge of a killed agent's reservations, and nothing else."""
        try:
            self._written += os.write(file, lines)
        except OSError as exc:
            log.warning("reservations not written down", extra={"error": str(exc)})


def _locked(path: Path) -> int | None:
    """The file, where nobody else has it: two agents would settle each other's reservations."""
    file = None
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        log.warning("reservations are not written down", extra={"path": str(path), "error": str(exc)})
        if file is not None:
            os.close(file)
        return None
    return file


def _read(file: int) -> dict[str, Settlement]:
    """What is in it; a line that was cut off by the end of its writer says nothing."""
    found: dict[str, Settlement] = {}
    for line in os.pread(file, MOST_READ, 0).splitlines():
        try:
            settlement = DECODER.decode(line)
        except msgspec.DecodeError:
            continue
        found[_claim(settlement)] = settlement
    return found


def _claim(settlement: Settlement) -> str:
    """Names the reservation that this settles: an attempt's id is its own, and so is a request's that has none."""
    return settlement.attempt or settlement.request


def _line(settlement: Settlement) -> bytes:
    """Begins with the line's end: one that was cut off before spoils no other."""
    return b"\n" + msgspec.json.encode(settlement)
