"""A tier's way straight into the GPU under one document, and what holds a place there."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from meltguard.agent.counters import TierCounts
from meltguard.agent.fair_bucket import FairBucket
from meltguard.agent.fields import ToldLimits, limits_of
from meltguard.agent.rates import REJECT_NEEDS
from meltguard.agent.standing import Standing
from meltguard.agent.turns import Ticket
from meltguard.api.limit_document import TierLimit, TierState
from meltguard.core.units import Seconds, TierName, Units


class Slot(msgspec.Struct, eq=False):
    """One request in the GPU. It is held as long as the request lives, never by a timer."""

    counts: TierCounts  # of its tier
    units: Units
    since: Seconds  # when it entered

    @property
    def tier(self) -> TierName:
        """Whose it is."""
        return self.counts.tier


class Holder(Protocol):
    """Whoever must give a slot back: a request, as long as it is there."""

    def done(self) -> bool:
        """Whether it is gone, with the slot given back or not."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """All that a tier's request must pass where nobody waits: looked up once, read without a question to anyone."""

    tier: TierName
    rule: TierLimit
    standing: Standing
    counts: TierCounts  # of the tier, under whatever document
    waiting: Mapping[Ticket, None]  # its requests in the line
    most: int  # of its requests in the GPU at once where one goes straight in; 0 where none does
    rate: FairBucket | None
    waits_for_rate: bool  # what is over the rate; else it is refused at once, and the rate is shared out
    maximum: FairBucket | None
    told: ToldLimits | None  # None where it must be written anew each time, or nothing may be told

    def draw(self, units: Units, user: str, at: Seconds) -> bool:
        """Count a user's request against rate and maximum if both let it pass now."""
        maximum, rate = self.maximum, self.rate
        if maximum is not None and not maximum.draw_amply(units, at):
            return self._draw_closely(maximum, units, user, at)
        if rate is None or (rate.draw(units, at) if self.waits_for_rate else _draw_share(rate, units, user, at)):
            return True
        if maximum is not None:
            maximum.give_back(units)
        return False

    def _draw_closely(self, maximum: FairBucket, units: Units, user: str, at: Seconds) -> bool:
        if maximum.wait_of(user, units, units, at) > 0:
            return False
        rate = self.rate
        drawn = rate is None or (rate.draw(units, at) if self.waits_for_rate else _draw_share(rate, units, user, at))
        if drawn:
            maximum.take_for(user, units, at)
        return drawn


@dataclass(frozen=True, slots=True)
class Lasting:
    """What of a tier outlives a document."""

    counts: TierCounts
    waiting: Mapping[Ticket, None]
    rate: FairBucket | None
    maximum: FairBucket | None


def lane_of(rule: TierLimit, standing: Standing, tier: Lasting) -> Lane:
    """A tier's lane under a document."""
    return Lane(
        tier=TierName(rule.name),
        rule=rule,
        standing=standing,
        counts=tier.counts,
        waiting=tier.waiting,
        most=_most(rule, standing),
        rate=tier.rate,
        waits_for_rate=rule.state is not TierState.REJECT,
        maximum=tier.maximum,
        told=_told(rule, standing, tier),
    )


def _draw_share(rate: FairBucket, units: Units, user: str, at: Seconds) -> bool:
    return rate.draw_amply(units, at) or rate.draw_for(user, units, Units(REJECT_NEEDS), at)


def _told(rule: TierLimit, standing: Standing, tier: Lasting) -> ToldLimits | None:
    if standing.observing or rule.state is TierState.SUSPEND:
        return None
    return ToldLimits(limits_of(tier.rate, tier.maximum))


def _most(rule: TierLimit, standing: Standing) -> int:
    """How many may be in the GPU when another goes straight in: none where a store is asked, or nothing is enforced."""
    if standing.observing or rule.quota is not None or rule.state is TierState.SUSPEND:
        return 0
    return sys.maxsize if rule.concurrency is None else rule.concurrency
