"""Why the law limits a tier, and what lifts the limit: by case, with its numbers.

Every comparison that a sentence makes holds of the numbers as it prints them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from meltguard.core.limits import FILL, TierNeed, asked
from meltguard.core.motion import LIFT_ABOVE_DEMAND, Motion
from meltguard.core.pressure import predicted_wait
from meltguard.core.units import Units, UnitsPerSecond
from meltguard.core.wording import is_more, per_minute


@dataclass(frozen=True, slots=True, kw_only=True)
class LawfulLimit:
    """One tier's limit by the law, and the numbers that made it."""

    need: TierNeed
    needs: Sequence[TierNeed]  # of all tiers
    wanted: UnitsPerSecond | None  # where the limit goes; None: it lifts
    motion: Motion
    budget: UnitsPerSecond | None
    capacity: UnitsPerSecond | None
    backlog: Units
    paused: bool

    @property
    def ahead(self) -> UnitsPerSecond:
        """What this tier and those that go before it ask for."""
        priority = self.need.tier.priority
        before = (one for one in self.needs if one.tier.priority >= priority or one.fixed is not None)
        return UnitsPerSecond(sum(asked(one) for one in before))

    @property
    def subject(self) -> str:
        """Whose demand `ahead` is."""
        priority = self.need.tier.priority
        below = any(one.tier.priority < priority and one.fixed is None for one in self.needs)
        return f"demand of tier {self.need.tier.name} and those above it" if below else "demand"


def words_of(limit: LawfulLimit) -> tuple[str, str]:
    """Its cause, and what lifts it."""
    if limit.paused:
        return "the policy is paused, and the limit stays as it was then", "the policy is resumed"
    if limit.budget is None or not limit.capacity:
        return "what the GPUs can do is not known now, so the limit stays", "agents answer and the GPUs are measured"
    if limit.wanted is None:
        return _lifting(limit, limit.budget)
    if is_more(limit.ahead, limit.capacity):
        said = f"{limit.subject} {per_minute(limit.ahead)} is more than the GPUs' {per_minute(limit.capacity)}"
        return f"{said}; tier {limit.need.tier.name} gives way", _once_it_fits(limit, limit.capacity)
    return _short_of_budget(limit, limit.budget, limit.capacity)


def _lifting(limit: LawfulLimit, budget: UnitsPerSecond) -> tuple[str, str]:
    """All that is asked for fits again: the limit is on its way up, or about to be."""
    fits = f"{limit.subject} {per_minute(limit.ahead)} fits the GPUs' {per_minute(budget)} again"
    if is_more(limit.ahead, budget):  # a tier above is short, and this one asks for too little to be
        floor = per_minute(limit.need.tier.floor * budget)
        fits = f"demand {per_minute(asked(limit.need))} is no more than the {floor} that the tier's floor keeps for it"
    lifts = f"the limit has risen to {_lifted_at(limit)}"
    if limit.motion.may_rise:
        return f"{fits}: the limit rises step by step", lifts
    rests = f"the limit fell lately and rests for {limit.motion.rests_for:.0f} s more at most"
    return f"{fits}; {rests}", lifts


def _short_of_budget(limit: LawfulLimit, budget: UnitsPerSecond, capacity: UnitsPerSecond) -> tuple[str, str]:
    """The GPUs could do it all, and not now: a backlog is worked off first, or waits say that they do less."""
    wait = predicted_wait(limit.backlog, capacity) or 0.0
    if wait > FILL * limit.motion.target:
        said = f"{limit.backlog:.0f} image units wait for a GPU, {wait:.0f} s, and are worked off first"
        lifts = f"they are worked off, and {_once_it_fits(limit, capacity)}"
        return f"{said}: {per_minute(budget)} of the GPUs' {per_minute(capacity)} are shared out", lifts
    said = f"{limit.subject} {per_minute(limit.ahead)} takes up the {per_minute(budget)} that waits let through"
    if is_more(limit.ahead, budget):
        said = f"{limit.subject} {per_minute(limit.ahead)} is more than the {per_minute(budget)} that waits let through"
    return f"{said}; tier {limit.need.tier.name} gives way", _once_it_fits(limit, budget)


def _once_it_fits(limit: LawfulLimit, room: UnitsPerSecond) -> str:
    fits = f"{limit.subject} falls below {per_minute(room)}, or nodes arrive"
    return f"{fits}; then the limit rises to {_lifted_at(limit)}"


def _lifted_at(limit: LawfulLimit) -> str:
    rate = LIFT_ABOVE_DEMAND * asked(limit.need)
    return f"{per_minute(rate)}, {LIFT_ABOVE_DEMAND:.4g} times the tier's demand"
