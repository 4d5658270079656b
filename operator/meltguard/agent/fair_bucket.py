"""A bucket whose refused do not wait: what it holds is divided between users, although nobody stands in a line.

Who has had some of it lately leaves a part of it to the others: the more, the nearer to the user who had most. What
each drew fades with time, for all alike, so it is kept as a weight that grows with the moment of drawing: nothing is
ever recomputed.
A user's share so comes near to what equal turns would give. Where only one user asks, nothing is kept back.
"""

import math
from collections import OrderedDict
from typing import Final

from typing_extensions import override

from meltguard.agent.bucket import Bucket
from meltguard.core.units import Seconds, Units, UnitsPerSecond

FADES: Final = Seconds(60.0)  # what was drawn so long ago counts 1/e
EXPECTED: Final = Seconds(600.0)  # others who asked within this may come again
ONE: Final = 1.0  # image unit that the rest must hold beside what is kept back
LIGHT: Final = 0.3  # of what the user had who had most: who had less leaves nothing
KEPT_BACK: Final = 0.5  # share of the burst beyond that one, from the user who had most
AMPLE: Final = 0.25  # share of the burst that may be missing before it matters who draws
MOST_REMEMBERED: Final = 1_024  # users
LARGEST: Final = 50.0  # exponent of a weight, before all are divided by it


class RecentUse:
    """What each user drew lately, compared with the one who drew most."""

    def __init__(self, at: Seconds) -> None:
        self._weights: OrderedDict[str, float] = OrderedDict()  # who drew last is last
        self._most = 0.0
        self._origin: float = at
        self._asked: str | None = None  # who asked last
        self._shared_until = -math.inf

    def leaves(self, user: str, at: Seconds) -> float:
        """How much of what may be kept back a user who asks now leaves; 0 where no others may come, 1 of the heaviest.

        In proportion, not all or nothing: else several who each had a little less than the heaviest drain what they
        leave to nobody but one another, and a light user finds nothing nearly every second time.
        """
        if user != self._asked:
            if self._asked is not None:
                self._shared_until = at + EXPECTED
            self._asked = user
        if at >= self._shared_until or not self._most:
            return 0.0
        return max(0.0, self._weights.get(user, 0.0) / self._most - LIGHT) / (1.0 - LIGHT)

    def drew(self, user: str, units: Units, at: Seconds) -> None:
        """A user was let in."""
        exponent = (at - self._origin) / FADES
        if exponent > LARGEST:
            self._begin_at(at, math.exp(-exponent))
            exponent = 0.0
        weight = self._weights.pop(user, 0.0) + units * math.exp(exponent)
        self._weights[user] = weight
        self._most = max(self._most, weight)
        if len(self._weights) > MOST_REMEMBERED:
            self._weights.popitem(last=False)

    def _begin_at(self, at: Seconds, scale: float) -> None:
        self._origin = at
        self._most *= scale
        for user in self._weights:
            self._weights[user] *= scale


class FairBucket(Bucket):
    """Knows who draws once it is no longer nearly full; before, nobody is short."""

    __slots__ = ("_ample_within", "_use")

    def __init__(self, rate: UnitsPerSecond, burst: Units, at: Seconds) -> None:
        super().__init__(rate, burst, at)
        self._use = RecentUse(at)
        self._ample_within = AMPLE * burst * self._unit_takes

    @override
    def change(self, rate: UnitsPerSecond, burst: Units, at: Seconds) -> None:
        super().change(rate, burst, at)
        self._ample_within = AMPLE * burst * self._unit_takes

    def draw_amply(self, units: Units, at: Seconds) -> bool:
        """Draw, if so much is there that nobody is asked who he is. A full one lets anything pass."""
        full_at = self._full_at
        if full_at <= at:
            self._full_at = at + units * self._unit_takes
            return True
        full_at += units * self._unit_takes
        if full_at - at > self._ample_within:
            return False
        self._full_at = full_at
        return True

    def give_back(self, units: Units) -> None:
        """Undo what was drawn amply in this moment."""
        self._full_at -= units * self._unit_takes

    def wait_of(self, user: str, units: Units, needs: Units, at: Seconds) -> Seconds:
        """Seconds until this user's request may pass, where so much of it must be there; 0 when now."""
        if self._is_ample(units, at):
            return Seconds(0.0)
        return self.wait(self._needed(user, units, needs, at), at)

    def draw_for(self, user: str, units: Units, needs: Units, at: Seconds) -> bool:
        """Draw, if the user may pass now."""
        if self.wait_of(user, units, needs, at) > 0:
            return False
        self.take_for(user, units, at)
        return True

    def take_for(self, user: str, units: Units, at: Seconds) -> None:
        """Draw; the caller has asked `wait_of` first."""
        if not self._is_ample(units, at):
            self._use.drew(user, units, at)
        self.take(units, at)

    def _is_ample(self, units: Units, at: Seconds) -> bool:
        return self._full_at <= at or self._full_at + units * self._unit_takes - at <= self._ample_within

    def _needed(self, user: str, units: Units, needs: Units, at: Seconds) -> Units:
        kept = self._use.leaves(user, at) * KEPT_BACK * max(0.0, self.burst - ONE)
        if not kept:
            return Units(min(needs, units))
        return Units(kept + min(units, self.burst - kept))
