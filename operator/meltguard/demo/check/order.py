"""Whether milder measures came before harder ones, and went in the opposite order."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from meltguard.core.units import Instant
from meltguard.demo.check.ladder import LOWEST_FIRST, Ladder
from meltguard.demo.check.policy import Told

LEVELS: Final = ("Normal", "Elevated", "Overloaded", "Critical")
STATES: Final = ("Open", "Delay", "Reject", "Suspend")
BORROWS: Final = "pressure is high"
"""The rule of the operator's that says whether the pressure is one at which nodes are borrowed."""

Asked = Mapping[str, Mapping[str, str]]
"""By tier, the state that the policy asks for from a level on."""


def out_of_order(found: Ladder, statuses: Sequence[Told], asked: Asked) -> tuple[str, ...]:
    """Steps of the ladder that came before a milder one, or went before a harder one, as sentences."""
    return (
        *_higher_tiers_first(found),
        *_limited_too_early(found),
        *_limited_unborrowed(found, statuses),
        *_too_hard(statuses, asked),
        *_steps_skipped(statuses),
    )


def _higher_tiers_first(found: Ladder) -> Iterator[str]:
    limits = [(tier, found.first_limits[tier]) for tier in LOWEST_FIRST if tier in found.first_limits]
    for (earlier, at), (later, then) in pairwise(limits):
        if then < at:
            yield f"{later} was limited before {earlier}"


def _limited_too_early(found: Ladder) -> Iterator[str]:
    """Features and updates give way before any tier, or in the same decision."""
    for tier, at in list(found.first_limits.items())[:1]:
        if _after(found.feature_slowed, at):
            yield f"{tier} was limited before the feature was slowed"
        if _after(found.updates_held, at):
            yield f"{tier} was limited before updates were held"


def _after(milder: Instant | None, at: Instant) -> bool:
    return milder is None or milder > at


def _limited_unborrowed(found: Ladder, statuses: Sequence[Told]) -> Iterator[str]:
    """No tier is limited at a pressure at which no node would be borrowed.

    The claim itself may come later: a shortage must last two seconds of real time before a node is moved, a limit
    takes one decision, and the demo's crowd comes many times as fast as any that was recorded.
    """
    first = next((one for one in statuses if one.at == min(found.first_limits.values(), default=None)), None)
    if first is None or first.status.loan_count > 0:
        return
    if not any(rule.rule == BORROWS and rule.holds for rule in first.status.decision.rules):
        yield f"a tier was limited at pressure {first.status.pressure}, at which no node is borrowed"


def _too_hard(statuses: Sequence[Told], asked: Asked) -> Iterator[str]:
    """Delay, then Reject, then Suspend: each from its level on, and none before. A person's word is not the law's.

    A crowd that lifts the level by two at once, skips the state between them.
    """
    for one in statuses:
        if one.status.overrides:
            continue
        for limit in one.status.limits:
            most = _most(asked.get(limit.tier, {}), one.status.level)
            if STATES.index(limit.state) > STATES.index(most):
                yield f"{limit.tier} was at {limit.state} while level {one.status.level} asks for {most}"


def _most(asked: Mapping[str, str], level: str) -> str:
    """The hardest state at a level. A tier that names none is only ever delayed."""
    up_to = LEVELS[: LEVELS.index(level) + 1] if level in LEVELS else ()
    named = [asked[at] for at in up_to if at in asked]
    return max(("Delay", *named), key=STATES.index)


def _steps_skipped(statuses: Sequence[Told]) -> Iterator[str]:
    """A level falls by one at a time."""
    levels = [one.status.level for one in statuses if one.status.level in LEVELS]
    for before, after in pairwise(levels):
        if LEVELS.index(before) - LEVELS.index(after) > 1:
            yield f"the level fell from {before} to {after} at once"
