"""A GPU as its exporter sees it: heat, utilization, clocks and power, driven by real starts and ends of work.

Closed forms between two events: reading one often changes nothing about it.
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

from meltguard.core.units import Celsius, Seconds, Share
from meltguard.sim.heat import BUSY_CLOCK, SLOW_CLOCK, SLOWDOWN, Thermal

WINDOW: Final = Seconds(1.0)
"""Utilization is the busy share of this much time, as the driver's sample period has it."""

NOISE: Final = 0.4
"""Standard deviation of a temperature reading, in degrees: sensors tell whole degrees that flicker."""

IDLE_CLOCK: Final = 345
"""SM clock in MHz without work."""

IDLE_WATTS, BUSY_WATTS = 72.0, 655.0
MEMORY_MIB: Final = 81_559
MODEL_MIB: Final = 13_824


class Flaw(StrEnum):
    """What is wrong with a card."""

    HOT = "hot"  # a fan has failed
    SLOW = "slow"  # it does the same work in more time, and no sensor tells


HOT_AT: Final = Celsius(88.5)
"""Where a badly cooled card settles at work: above SLOWDOWN."""

SLOWNESS: Final = 2.0
"""As where power is braked to half the clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """What an exporter reads of one GPU."""

    index: int
    utilization: Share
    temperature: Celsius
    memory_temperature: Celsius
    sm_clock: int  # MHz
    power: float  # watts
    energy: float  # joules since the model started
    memory_used: int  # MiB
    pod: "GpuUser | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUser:
    """The container that a GPU is given to."""

    namespace: str
    pod: str
    container: str


class Gpu:
    """One GPU. Times are seconds on one clock that never jumps."""

    def __init__(self, index: int, thermal: Thermal, chance: Random, pace: float = 1.0) -> None:
        self.index = index
        self._pace = pace
        self.user: GpuUser | None = None
        self._thermal = thermal
        self._chance = chance
        self._temperature = Celsius(thermal.idle + chance.uniform(-1.0, 1.0))
        self._seen_at: Seconds | None = None
        self._busy_since: Seconds | None = None
        self._worked: deque[tuple[Seconds, Seconds]] = deque()
        self._joules = 0.0

    @property
    def busy(self) -> bool:
        """Whether something runs on it."""
        return self._busy_since is not None

    def slowness(self, now: Seconds) -> float:
        """How much longer work takes than on a good card: its own flaw, and the lower clock when it is too hot."""
        self._advance(now)
        throttled = BUSY_CLOCK / SLOW_CLOCK if self._temperature >= SLOWDOWN else 1.0
        return self._pace * throttled

    def start(self, now: Seconds) -> None:
        """Work begins; a GPU that is at work stays so."""
        self._advance(now)
        if self._busy_since is None:
            self._busy_since = now

    def stop(self, now: Seconds) -> None:
        """Work ends."""
        self._advance(now)
        if self._busy_since is not None:
            self._worked.append((self._busy_since, now))
            self._busy_since = None

    def read(self, now: Seconds) -> GpuReading:
        """The sensors now."""
        self._advance(now)
        shown = Celsius(self._temperature + self._chance.gauss(0.0, NOISE))
        used = self._utilization(now)
        return GpuReading(
            index=self.index,
            utilization=used,
            temperature=shown,
            memory_temperature=Celsius(shown + 6.0 + 4.0 * used),
            sm_clock=self._clock_rate(),
            power=IDLE_WATTS + (BUSY_WATTS - IDLE_WATTS) * used,
            energy=self._joules,
            memory_used=MODEL_MIB if self.user else 3,
            pod=self.user,
        )

    def _clock_rate(self) -> int:
        if not self.busy:
            return IDLE_CLOCK
        return SLOW_CLOCK if self._temperature >= SLOWDOWN else BUSY_CLOCK

    def _utilization(self, now: Seconds) -> Share:
        start = now - WINDOW
        while self._worked and self._worked[0][1] <= start:
            self._worked.popleft()
        spans = [*self._worked, *([(self._busy_since, now)] if self._busy_since is not None else [])]
        return Share(min(1.0, sum(end - max(begin, start) for begin, end in spans if end > start) / WINDOW))

    def _advance(self, now: Seconds) -> None:
        span = Seconds(max(0.0, now - self._seen_at)) if self._seen_at is not None else Seconds(0.0)
        self._temperature = self._thermal.after(self._temperature, span, busy=self.busy)
        self._joules += (BUSY_WATTS if self.busy else IDLE_WATTS) * span
        self._seen_at = now


def card(index: int, chance: Random, speed: float, flaw: Flaw | None = None) -> Gpu:
    """One of a rack's cards: no two are cooled alike. `speed` divides the time that heating takes."""
    idle, loaded = Celsius(chance.uniform(31.0, 36.0)), Celsius(chance.uniform(77.0, 82.5))
    thermal = Thermal(
        idle=idle,
        loaded=HOT_AT if flaw is Flaw.HOT else loaded,
        time_constant=Seconds(60.0 / speed),
    )
    return Gpu(index, thermal, chance, SLOWNESS if flaw is Flaw.SLOW else 1.0)
