"""What tiers may draw in image units a second: the limit in force, and each tier's own maximum."""

from typing import Final

from meltguard.agent.fair_bucket import FairBucket
from meltguard.agent.standing import Standing
from meltguard.api.limit_document import TierLimit, TierState
from meltguard.core.units import Seconds, Units, UnitsPerSecond

REJECT_NEEDS: Final = 1.0
"""Image units that the bucket must hold in Reject, for a request of any size; the rest becomes debt.

Nobody waits there for more to gather, and small requests would keep large ones out for ever.
"""

OWN_MAXIMUM_SPAN: Final = 10.0  # seconds of a tier's own maximum that may come at once


class Rates:
    """The buckets of all tiers that documents have named."""

    def __init__(self) -> None:
        self._rates: dict[str, FairBucket] = {}
        self._maxima: dict[str, FairBucket] = {}

    def obey(self, standing: Standing, at: Seconds) -> None:
        """Fill by other limits from now on."""
        for name, rule in standing.tiers.items():
            _refit(self._rates, name, rule.rate, rule.burst, at)
            most = 0.0 if rule.max_rate is None else rule.max_rate * OWN_MAXIMUM_SPAN
            _refit(self._maxima, name, rule.max_rate, max(rule.burst, most), at)

    def maximum_wait(self, rule: TierLimit, units: Units, user: str, at: Seconds) -> Seconds:
        """Seconds until the tier's own maximum lets this user's request pass."""
        return Seconds(0.0) if rule.max_rate is None else self._maxima[rule.name].wait_of(user, units, units, at)

    def draw_maximum(self, rule: TierLimit, units: Units, user: str, at: Seconds) -> None:
        """Count against the tier's own maximum."""
        if rule.max_rate is not None:
            self._maxima[rule.name].take_for(user, units, at)

    def wait(self, rule: TierLimit, units: Units, user: str, at: Seconds) -> Seconds:
        """Seconds until the tier's rate lets this user's request pass."""
        if not binds(rule):
            return Seconds(0.0)
        bucket = self._rates[rule.name]
        if rule.state is TierState.REJECT:
            return bucket.wait_of(user, units, Units(REJECT_NEEDS), at)
        return bucket.wait(units, at)

    def backlog_wait(self, rule: TierLimit, units: Units, at: Seconds, behind: Units) -> Seconds:
        """Seconds until the tier's rate has let in others of `behind` units, and this."""
        if rule.state is not TierState.DELAY or rule.rate is None:
            return Seconds(0.0)
        return self._rates[rule.name].wait(units, at, behind)

    def draw(self, rule: TierLimit, units: Units, user: str, at: Seconds) -> None:
        """Count against the tier's rate."""
        if rule.state is TierState.REJECT and binds(rule):
            self._rates[rule.name].take_for(user, units, at)
        elif binds(rule):
            self._rates[rule.name].take(units, at)

    def buckets(self, rule: TierLimit) -> tuple[FairBucket | None, FairBucket | None]:
        """What the tier's rate draws from, and its own maximum; None where there is none."""
        rate = self._rates[rule.name] if binds(rule) else None
        return rate, self._maxima[rule.name] if rule.max_rate is not None else None

    def room(self, rule: TierLimit, at: Seconds) -> Units:
        """Image units that the tier's rate, which binds, lets pass at this moment."""
        return self._rates[rule.name].room(at)


def binds(rule: TierLimit) -> bool:
    """Whether the tier's rate holds requests back."""
    return rule.rate is not None and rule.state in {TierState.DELAY, TierState.REJECT}


def held_to(rule: TierLimit) -> UnitsPerSecond | None:
    """What holds a tier back, 0 where it is suspended; None where no rate does."""
    if rule.state is TierState.SUSPEND:
        return UnitsPerSecond(0.0)
    return UnitsPerSecond(rule.rate or 0.0) if binds(rule) else None


def _refit(buckets: dict[str, FairBucket], tier: str, rate: float | None, burst: float, at: Seconds) -> None:
    """Give a tier's bucket its new rate. Without one it stays as it is: a limit that returns finds it drawn."""
    if rate is None:
        return
    if tier in buckets:
        buckets[tier].change(UnitsPerSecond(rate), Units(burst), at)
    else:
        buckets[tier] = FairBucket(UnitsPerSecond(rate), Units(burst), at)
