"""How far a rehearsal is, on the terminal's error stream; nothing where it is done at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from meltguard.core.units import Seconds
from meltguard.ports import Clock

PATIENCE: Final = Seconds(2.0)
"""What is done within this time shows nothing."""

LINE_EVERY: Final = Seconds(10.0)
"""Where there is no terminal, a line now and then."""


class Watched:
    """One rehearsal's progress; call it with the simulated seconds so far."""

    def __init__(self, console: Console, clock: Clock, what: tuple[str, Seconds]) -> None:
        self._console, self._clock = console, clock
        self._name, self._until = what
        self._began = self._said = clock.elapsed()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, at: Seconds) -> None:
        """So far it is."""
        now = self._clock.elapsed()
        if now - self._began < PATIENCE:
            return
        if self._console.is_terminal:
            self._draw(at)
        elif now - self._said >= LINE_EVERY:
            self._said = now
            self._console.print(f"{self._name}: {at / self._until:.0%} of {self._until / 3600:.1f} h", markup=False)

    def close(self) -> None:
        """It is done: the bar goes away."""
        if self._bar is not None:
            self._bar.stop()

    def _draw(self, at: Seconds) -> None:
        if self._bar is None:
            columns = (TextColumn("rehearsing {task.description}"), BarColumn(), TextColumn("{task.percentage:.0f}%"))
            self._bar = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
            self._task = self._bar.add_task(self._name, total=self._until)
            self._bar.start()
        if self._task is not None:
            self._bar.update(self._task, completed=at)


@contextmanager
def watched(console: Console, clock: Clock, what: tuple[str, Seconds]) -> Iterator[Watched]:
    """Progress of `what` (its name, its simulated seconds), as long as it lasts."""
    progress = Watched(console, clock, what)
    try:
        yield progress
    finally:
        progress.close()
