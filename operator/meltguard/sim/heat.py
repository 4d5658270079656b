"""How a card takes and loses heat. Closed forms: asking often changes nothing about it."""

import math
from dataclasses import dataclass
from typing import Final

from meltguard.core.units import Celsius, Seconds

BUSY_CLOCK, SLOW_CLOCK = 1755, 1410
"""SM clock in MHz at work, and at work above SLOWDOWN."""

SLOWDOWN: Final = Celsius(87.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thermal:
    """How one card takes and loses heat."""

    idle: Celsius  # where it settles without work
    loaded: Celsius  # where it settles at work
    time_constant: Seconds  # after which 63 % of the way is gone

    def after(self, temperature: Celsius, span: Seconds, *, busy: bool) -> Celsius:
        """The temperature after a span of work or of rest.

        >>> card = Thermal(idle=Celsius(30.0), loaded=Celsius(80.0), time_constant=Seconds(10.0))
        >>> round(card.after(Celsius(30.0), Seconds(10.0), busy=True), 1)
        61.6
        """
        settles = self.loaded if busy else self.idle
        return Celsius(settles + (temperature - settles) * math.exp(-span / self.time_constant))
