"""A tier's way straight into the GPU under one document, and what holds a place there."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from meltguard.agent.bucket import Bucket
from meltguard.agent.counters import TierCounts
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
    rate: Bucket | None
    needs: Units  # the rate's bucket must hold so much of a request at most
    maximum: Bucket | None
    told: ToldLimits | None  # None where it must be written anew each time, or nothing may be told

    def draw(self, units: Units, at: Seconds) -> bool:
        """Count a request against rate and maximum if both let it pass now."""
        rate, maximum = self.rate, self.maximum
        if maximum is not None and not maximum.draw(units, units, at):
            return False
        if rate is None or rate.draw(units, self.needs, at):
            return True
        if maximum is not None:
            maximum.give_back(units)
        return False


@dataclass(frozen=True, slots=True)
class Lasting:
    """What of a tier outlives a document."""

    counts: TierCounts
    waiting: Mapping[Ticket, None]
    rate: Bucket | None
    maximum: Bucket | None


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
        needs=Units(REJECT_NEEDS if rule.state is TierState.REJECT else math.inf),
        maximum=tier.maximum,
        told=_told(rule, standing, tier),
    )


def _told(rule: TierLimit, standing: Standing, tier: Lasting) -> ToldLimits | None:
    if standing.observing or rule.state is TierState.SUSPEND:
        return None
    return ToldLimits(limits_of(tier.rate, tier.maximum))


def _most(rule: TierLimit, standing: Standing) -> int:
    """How many may be in the GPU when another goes straight in: none where a store is asked, or nothing is enforced."""
    if standing.observing or rule.quota is not None or rule.state is TierState.SUSPEND:
        return 0
    return sys.maxsize if rule.concurrency is None else rule.concurrency
