"""Run one long command, tell how far it is, keep what it prints, never outlive it."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meltguard.core.units import Seconds
from meltguard.localcluster.launching import launched

LOOK_EVERY: Final = Seconds(1.0)
TAIL_LINES: Final = 15


class Failed(Exception):
    """The command ended with an error or was not there; the text has the tail of what it printed."""


@dataclass(frozen=True, slots=True)
class Where:
    """Where a command runs."""

    directory: Path
    environment: Mapping[str, str]


def run_watched(
    command: Sequence[str],
    *,
    log: Path,
    limit: Seconds,
    told: Callable[[Path], None],
    where: Where | None = None,
) -> None:
    """Run to the end; `told` is called with the log once a second.

    Raises:
        Failed: it ended with an error, could not be started, or took longer than the limit.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            launched(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=where.directory if where else None,
            env=where.environment if where else None,
        )
    deadline = time.monotonic() + limit
    try:
        while (code := _ended(process)) is None:
            told(log)
            if time.monotonic() > deadline:
                raise Failed(f"`{command[0]}` took longer than {limit:.0f} s\n{tail(log)}")
    finally:
        process.kill()
        process.wait()
    if code != 0:
        raise Failed(f"`{command[0]}` ended with {code}\n{tail(log)}")


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a file, indented; says so where there are none."""
    try:
        kept = log.read_text(errors="replace").splitlines()[-lines:]
    except OSError as exc:
        return f"    (cannot read {log}: {exc})"
    return "\n".join(f"    {line}" for line in kept) or f"    ({log} is empty)"


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(timeout=LOOK_EVERY)
    except subprocess.TimeoutExpired:
        return None
