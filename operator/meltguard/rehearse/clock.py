"""The rehearsal's clock: it stands still until the simulated world moves it."""

from dataclasses import dataclass

from typing_extensions import override

from meltguard.core.units import Instant, Seconds
from meltguard.ports import Clock


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
