"""A clock on which the law's minutes pass in seconds. Only the tests' own programs can be given one."""

from dataclasses import dataclass, replace
from typing import Final

from faults.evidence import Deed
from meltguard.clock import SystemClock
from meltguard.core.units import Instant, Seconds

AHEAD: Final = Seconds(3600.0)
"""So far it runs ahead from the start: a pod's stamps, which Kubernetes writes, lie in the past and time nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FastClock:
    """The time of day runs `rate` times as fast since `began`; what is waited for outside (elapsed) takes its time."""

    began: float  # by the machine's clock
    rate: float

    def now(self) -> Instant:
        """The law's time."""
        return self.law(SystemClock().now())

    def elapsed(self) -> Seconds:
        """The machine's: leases, watches and answers are as quick as ever."""
        return SystemClock().elapsed()

    def law(self, at: float) -> Instant:
        """The law's time at a moment of the machine's."""
        return Instant(self.began + AHEAD + (at - self.began) * self.rate)

    def minutes(self) -> float:
        """How many of the law's minutes have passed since it began."""
        return self.minute(self.now())

    def minute(self, law: float) -> float:
        """Which of the law's minutes a moment of its time falls in."""
        return (law - self.law(self.began)) / 60.0

    def read(self, deed: Deed) -> Deed:
        """A write as the law dates it."""
        return replace(deed, asked_at=self.law(deed.asked_at), at=self.law(deed.at))
