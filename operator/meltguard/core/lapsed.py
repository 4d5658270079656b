"""What a pod may admit once its lease has ended: at its agent, and in the operator's count of a pod that is silent."""

from typing import Final

from meltguard.core.units import Seconds, UnitsPerSecond

BASELINE_HOLD: Final = Seconds(600.0)
"""After a lease ended the safe rates hold for so long."""

BASELINE_RAMP: Final = Seconds(300.0)
"""From there they grow to the tiers' maxima over so long."""


def ramped(safe: UnitsPerSecond | None, most: UnitsPerSecond | None, progress: float) -> UnitsPerSecond | None:
    """The rate on the way from the safe one to the most; a tier without a maximum ends without a rate.

    >>> ramped(UnitsPerSecond(1.0), UnitsPerSecond(3.0), 0.5)
    2.0
    """
    if safe is None or progress >= 1.0:
        return most
    if most is None:
        return UnitsPerSecond(safe / (1.0 - progress))
    return UnitsPerSecond(safe + (most - safe) * progress) if most > safe else most


def rate_after(safe: UnitsPerSecond | None, most: UnitsPerSecond | None, waited: Seconds) -> UnitsPerSecond | None:
    """A pod's rate `waited` seconds after its lease ended, where its agent keeps the usual times."""
    return ramped(safe, most, min(1.0, max(0.0, (waited - BASELINE_HOLD) / BASELINE_RAMP)))
