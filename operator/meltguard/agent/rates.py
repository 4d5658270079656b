"""What tiers may draw in image units a second: the limit in force, and each tier's own maximum."""

from typing import Final

from meltguard.agent.bucket import Bucket
from meltguard.agent.standing import Standing
from meltguard.api.limit_document import TierLimit, TierState
from meltguard.core.units import Seconds, Units, UnitsPerSecond

REJECT_NEEDS: Final = 1.0  # image units in the bucket, for a request of any size
OWN_MAXIMUM_SPAN: Final = 10.0  # seconds of a tier's own maximum that may come at once


class Rates:
    """The buckets of all tiers that documents have named."""

    def __init__(self) -> None:
        self._rates: dict[str, Bucket] = {}
        self._maxima: dict[str, Bucket] = {}

    def obey(self, standing: Standing, at: Seconds) -> None:
        """Fill by other limits from now on."""
        for name, rule in standing.tiers.items():
            _refit(self._rates, name, rule.rate, rule.burst, at)
            most = 0.0 if rule.max_rate is None else rule.max_rate * OWN_MAXIMUM_SPAN
            _refit(self._maxima, name, rule.max_rate, max(rule.burst, most), at)

    def maximum_wait(self, rule: TierLimit, units: Units, at: Seconds) -> Seconds:
        """Seconds until the tier's own maximum lets this pass."""
        return self._maxima[rule.name].wait(units, at) if rule.max_rate is not None else Seconds(0.0)

    def draw_maximum(self, rule: TierLimit, units: Units, at: Seconds) -> None:
        """Count against the tier's own maximum."""
        if rule.max_rate is not None:
            self._maxima[rule.name].take(units, at)

    def wait(self, rule: TierLimit, units: Units, at: Seconds) -> Seconds:
        """Seconds until the tier's rate lets this pass."""
        return self._rates[rule.name].wait(_needed(rule, units), at) if binds(rule) else Seconds(0.0)

    def backlog_wait(self, rule: TierLimit, units: Units, at: Seconds, behind: Units) -> Seconds:
        """Seconds until the tier's rate has let in others of `behind` units, and this."""
        if rule.state is not TierState.DELAY or rule.rate is None:
            return Seconds(0.0)
        return self._rates[rule.name].wait(units, at, behind)

    def draw(self, rule: TierLimit, units: Units, at: Seconds) -> None:
        """Count against the tier's rate."""
        if binds(rule):
            self._rates[rule.name].take(units, at)

    def buckets(self, rule: TierLimit) -> tuple[Bucket | None, Bucket | None]:
        """What the tier's rate draws from, and its own maximum; None where there is none."""
        rate = self._rates[rule.name] if binds(rule) else None
        return rate, self._maxima[rule.name] if rule.max_rate is not None else None

    def room(self, rule: TierLimit, at: Seconds) -> Units:
        """Image units that the tier's rate, which binds, lets pass at this moment."""
        return self._rates[rule.name].room(at)


def binds(rule: TierLimit) -> bool:
    """Whether the tier's rate holds requests back."""
    return rule.rate is not None and rule.state in {TierState.DELAY, TierState.REJECT}


def _needed(rule: TierLimit, units: Units) -> Units:
    """What the bucket must hold: in Reject one image unit will do, the rest becomes debt.

    Nobody waits there for more to gather, and small requests would keep large ones out for ever.
    """
    return Units(min(units, REJECT_NEEDS)) if rule.state is TierState.REJECT else units


def _refit(buckets: dict[str, Bucket], tier: str, rate: float | None, burst: float, at: Seconds) -> None:
    """Give a tier's bucket its new rate. Without one it stays as it is: a limit that returns finds it drawn."""
    if rate is None:
        return
    if tier in buckets:
        buckets[tier].change(UnitsPerSecond(rate), Units(burst), at)
    else:
        buckets[tier] = Bucket(UnitsPerSecond(rate), Units(burst), at)
