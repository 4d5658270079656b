"""Whether a shortage is more than chance: few requests a second come in clumps, and those break nobody's work off."""

import math
from dataclasses import dataclass
from typing import Final

from meltguard.core.units import Seconds, Units, UnitsPerSecond

DEVIATIONS: Final = 3.0
"""With two, GPUs that could do a quarter more than a request a second were short by chance twice an hour; with three
not once in 200 hours, and a demand of half as much again as they do is sure in a minute instead of twenty seconds."""

FORGOTTEN: Final = Seconds(300.0)
"""Two thirds of what was beyond are, so long after it: a surge that is over says little of the next.

While more is asked for than serves nothing is forgotten, so that every shortage that stays is sure some day."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What is asked for, as it was counted lately and not averaged."""

    demand: UnitsPerSecond
    swings: float  # image units squared that a second adds to its variance


@dataclass(frozen=True, slots=True)
class Excess:
    """What was asked for beyond what serves, summed up since there was last none, and all that was asked for then.

    Who comes by chance (a Poisson process) brings N image units give or take the root of N, where one asks for one; and
    the root of the sum of all sizes squared where some ask for more (a compound Poisson process). What is beyond is
    sure once it is DEVIATIONS times that. The sum, bounded below by 0, is Page's test for a change (E. S. Page,
    Continuous inspection schemes, Biometrika 1954); it bears that a single reading falls below.
    """

    beyond: Units
    asked: Units
    variance: float  # image units squared, of what was asked for

    @property
    def is_sure(self) -> bool:
        """Whether it is more than chance."""
        return self.beyond > DEVIATIONS * math.sqrt(self.variance)

    def after(self, counted: Counted, serves: UnitsPerSecond, span: Seconds) -> "Excess":
        """With so much more time, in which that was asked for where that could be served."""
        kept = math.exp(-span / FORGOTTEN) if counted.demand <= serves else 1.0
        beyond = kept * self.beyond + (counted.demand - serves) * span
        if beyond <= 0:
            return NO_EXCESS
        asked, variance = kept * self.asked + counted.demand * span, kept * self.variance + counted.swings * span
        return Excess(Units(beyond), Units(asked), variance)

    def sure_in(self, demand: UnitsPerSecond, beyond: UnitsPerSecond) -> Seconds | None:
        """How much longer it must stay as it is; None where what is beyond now never makes it sure.

        (b + e * t) ** 2 = DEVIATIONS ** 2 * (v + D * s * t), where what comes is of the size s that it was so far.

        >>> round(NO_EXCESS.sure_in(UnitsPerSecond(21.0), UnitsPerSecond(5.0)), 2)
        7.56
        """
        if self.is_sure:
            return Seconds(0.0)
        if beyond <= 0:
            return None
        size = self.variance / self.asked if self.asked > 0 else 1.0
        half = DEVIATIONS**2 * demand * size / 2.0 - self.beyond * beyond
        root = math.sqrt(half**2 + beyond**2 * (DEVIATIONS**2 * self.variance - self.beyond**2))
        return Seconds((half + root) / beyond**2)


NO_EXCESS: Final = Excess(Units(0.0), Units(0.0), 0.0)
"""Nothing is beyond, or nothing is known."""
