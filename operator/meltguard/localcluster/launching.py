"""How every child of a plane is started: through the launcher, so that it cannot outlive us."""

import os
import sys
from collections.abc import Sequence
from importlib.resources import as_file, files


def launched(command: Sequence[str]) -> list[str]:
    """The command, wrapped so that the kernel kills it when the *thread* that starts it ends.

    Start it from a thread that lives as long as the child should.
    """
    with as_file(files("meltguard.localcluster") / "launcher.py") as launcher:
        return [sys.executable, "-I", "-S", str(launcher), str(os.getpid()), *command]
