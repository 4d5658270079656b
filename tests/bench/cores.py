"""Two cores: the subject computes on one, whoever loads it on the other (where the machine has two)."""

import os
import shutil
from pathlib import Path
from typing import Final

LOAD_CORE: Final = 0
SUBJECT_CORE: Final = 1


def subjects_core() -> tuple[str, ...]:
    """What starts a subject's program on its core."""
    return ("taskset", "-c", str(SUBJECT_CORE)) if _has_two() and shutil.which("taskset") else ()


def take_the_loads_core() -> None:
    """This process, and those that it starts itself, load the subject."""
    if _has_two():
        os.sched_setaffinity(0, {LOAD_CORE})


def seconds_in_line(pid: int) -> float:
    """How long a process has stood in line for a core so far: its first thread, which is all that an agent has."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9


def _has_two() -> bool:
    return (os.cpu_count() or 1) > 1
