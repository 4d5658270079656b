"""What people type at a terminal in the middle of the run, and what they are answered: real programs, real rights."""

import asyncio
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meltguard.core.units import Seconds
from meltguard.errors import Unavailable

ANSWERS_WITHIN: Final = Seconds(60.0)
"""On two busy cores a Python program takes seconds to start, and these come last."""


NICE: Final = ("nice", "-n", "10")
"""Whoever looks must not slow what is looked at: at a surge's peak two cores have enough to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """A terminal with kubectl and its plugin."""

    kubeconfig: Path
    folders: tuple[Path, ...]  # where kubectl and kubectl-meltguard are
    say: Callable[[str], None]

    async def types(self, command: str) -> None:
        """Run a command and show it with its answer.

        Raises:
            Unavailable: it cannot be run, failed, or took too long; the text has its words.
        """
        words = shlex.split(command)
        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                process = await asyncio.create_subprocess_exec(
                    *(*NICE, self._found(words[0]), *words[1:]),
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    env=self._environment(),
                )
                answer = (await process.communicate())[0].decode(errors="replace").rstrip()
        except (OSError, TimeoutError) as exc:
            raise Unavailable(f"`{command}` did not run: {exc!r}; is kubectl beside this Python?") from exc
        if process.returncode != 0:
            raise Unavailable(f"`{command}` ended with {process.returncode}: {answer}")
        self.say(f"$ {command}\n{answer}")

    def _found(self, name: str) -> str:
        return next((str(folder / name) for folder in self.folders if (folder / name).exists()), name)

    def _environment(self) -> Mapping[str, str]:
        path = os.pathsep.join([*map(str, self.folders), os.environ.get("PATH", "")])
        return {**os.environ, "PATH": path, "KUBECONFIG": str(self.kubeconfig)}


def shell_of(kubectl: Path, kubeconfig: Path, say: Callable[[str], None]) -> Shell:
    """A terminal whose kubectl finds the plugin that is installed beside this Python."""
    return Shell(kubeconfig=kubeconfig, folders=(kubectl.parent, Path(sys.executable).parent), say=say)
