"""The share of what drains that a tier is kept, however much more important ones wait.

A tier that wants is owed its floor of every image unit that leaves the line for a GPU, its own included. Once it is
owed what its next request needs, that one goes first: so it never gets more than the floor. Priority decides the rest.
"""

import math
from collections.abc import Iterable
from typing import Final

from meltguard.agent.queue import WaitingLine
from meltguard.agent.standing import Standing
from meltguard.api.limit_document import TierState
from meltguard.core.units import Seconds, Share, TierName, Units, UnitsPerSecond

WANTS_FOR: Final = Seconds(60.0)  # after a request that had to wait or was refused
MOST_OWED: Final = 8.0  # image units, or a whole larger request: a tier that its own rate holds back saves no more up
AN_IMAGE: Final = Units(1.0)


class Floors:
    """What each tier with a floor is owed, in image units."""

    def __init__(self) -> None:
        self._shares: dict[TierName, Share] = {}
        self._owed: dict[TierName, float] = {}
        self._wants_until: dict[TierName, float] = {}

    def obey(self, standing: Standing) -> None:
        """Keep other floors from now on. A suspended tier has none, nor is any kept where nothing is enforced."""
        kept = [] if standing.observing else standing.tiers.values()
        self._shares = {
            TierName(rule.name): Share(rule.floor)
            for rule in kept
            if rule.floor and rule.state is not TierState.SUSPEND
        }
        self._owed = {tier: self._owed.get(tier, 0.0) for tier in self._shares}

    def wants(self, tier: TierName, at: Seconds) -> None:
        """A request of the tier did not enter at once."""
        if tier in self._shares:
            self._wants_until[tier] = at + WANTS_FOR

    def before(self, order: Iterable[TierName], line: WaitingLine) -> list[TierName]:
        """The tiers that go before all others: they are owed what their next request needs."""
        if not self._shares:
            return []
        heads = ((tier, line.of(tier).first()) for tier in order if tier in self._shares)
        return [tier for tier, head in heads if head is not None and head.units <= self._owed[tier]]

    def drained(self, tier: TierName, units: Units, at: Seconds, line: WaitingLine) -> None:
        """A request went from the line to a GPU."""
        for kept, share in self._shares.items():
            head = line.of(kept).first()
            if head is None and kept != tier and at >= self._wants_until.get(kept, -math.inf):
                self._owed[kept] = 0.0
                continue
            most = MOST_OWED if head is None else max(MOST_OWED, head.units)
            self._owed[kept] = min(most, self._owed[kept] + share * units)
        if tier in self._shares:
            self._owed[tier] = max(0.0, self._owed[tier] - units)

    def wait(self, tier: TierName, ahead: Units, drain: UnitsPerSecond) -> Seconds:
        """Seconds until the floor alone has let in others of `ahead` units, and an image more."""
        share = self._shares.get(tier)
        if share is None:
            return Seconds(math.inf)
        return Seconds(max(0.0, ahead + AN_IMAGE - self._owed[tier]) / (share * drain))

    def left_by(self, tiers: Iterable[TierName]) -> Share:
        """What the floors of these tiers leave; half at least, as no policy's floors take more."""
        return Share(max(0.5, 1.0 - sum(self._shares.get(tier, 0.0) for tier in tiers)))
