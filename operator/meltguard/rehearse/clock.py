"""The rehearsal's clock: it stands still until the simulated world moves it."""

from collections.abc import Callable
from dataclasses import dataclass

from typing_extensions import override

from meltguard.core.units import Instant, NodeName, PodUid, Seconds
from meltguard.ports import Clock
from meltguard.sim.lenders import Stage


@dataclass(slots=True)
class RehearsedClock(Clock):
    """Both clocks of the port, over one simulated time."""

    dawn: Instant  # the time of day at the start
    at: Seconds = Seconds(0.0)  # since the start

    @override
    def now(self) -> Instant:
        """The time of day, in seconds since the epoch."""
        return Instant(self.dawn + self.at)

    @override
    def elapsed(self) -> Seconds:
        """Seconds since the start."""
        return self.at


@dataclass(frozen=True, slots=True)
class TimedStage(Stage):
    """A stage by which the clock goes: it shows the time of whatever happens there."""

    stage: Stage
    clock: RehearsedClock

    @override
    def at(self, at: Seconds, happens: Callable[[Seconds], None]) -> None:
        """Have something happen then, by the clock too."""
        self.stage.at(at, lambda then: self._meet(then, happens))

    @override
    def open(self, pod: PodUid, node: NodeName, at: Seconds) -> None:
        """A serving pod is Ready."""
        self.stage.open(pod, node, at)

    @override
    def close(self, pod: PodUid, at: Seconds) -> None:
        """It takes no more requests."""
        self.stage.close(pod, at)

    @override
    def is_idle(self, pod: PodUid) -> bool:
        """Whether nothing runs in it any more."""
        return self.stage.is_idle(pod)

    @override
    def remove(self, pod: PodUid) -> None:
        """It is gone."""
        self.stage.remove(pod)

    def _meet(self, at: Seconds, happens: Callable[[Seconds], None]) -> None:
        self.clock.at = at
        happens(at)
