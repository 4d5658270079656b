"""What has changed between two decisions, in the words of its Event."""

from collections.abc import Iterator, Mapping
from typing import Final

from meltguard.controller.events import Reason
from meltguard.core.decision import Decision
from meltguard.core.fleet import Claim, MoveStep
from meltguard.core.loan_words import borrowed_words, gone_words, home_words, lent_words, recalled_words
from meltguard.core.policy import TierState
from meltguard.core.rollout_state import RolloutState
from meltguard.core.units import Instant, NodeName
from meltguard.core.wording import per_minute, when

Said = tuple[Reason, str]

CHANGES: Final = (
    Reason.LEVEL_CHANGED,
    Reason.OVERRIDE_BEGUN,
    Reason.OVERRIDE_ENDED,
    Reason.FEATURE_SLOWED,
    Reason.FEATURE_RESTORED,
    Reason.UPDATE_TRIED,
    Reason.ROLLOUT_LEFT_ALONE,
    Reason.ROLLOUT_RESUMED,
    Reason.ROLLOUT_HELD,
    Reason.TIER_LIMITED,
    Reason.TIER_LIFTED,
    Reason.NODE_BORROWED,
    Reason.NODE_LENT,
    Reason.NODE_RECALLED,
    Reason.NODE_RETURNED,
    Reason.LOAN_ENDED,
)
"""What a decision can change; each is told below, and nothing else is."""


def changes(before: Decision | None, now: Decision) -> Iterator[Said]:
    """Level, features, updates, tiers and overrides: what is not as it was; with its cause, and when it lifts."""
    if before is not None and before.level is not now.level:
        lifts = f"; it lifts when {now.level_lifts}" if now.level_lifts else ""
        yield Reason.LEVEL_CHANGED, f"{before.level.label} to {now.level.label}: {now.why}{lifts}"
    yield from _overrides(before, now)
    yield from _features(before, now)
    yield from _updates(before, now)
    yield from _tiers(before, now)


def loan_changes(
    before: Mapping[NodeName, Claim], now: Mapping[NodeName, Claim], came_home: Mapping[str, Instant]
) -> Iterator[Said]:
    """What became of the policy's loans between two passes; the mover tells the nodes' own Events, in the same words.

    `came_home` is when nodes last did.
    """
    for node, claim in now.items():
        yield from _step(node, before.get(node), claim)
    for node, claim in before.items():
        if node in now:
            continue
        if came_home.get(node, claim.since) > claim.since:
            yield Reason.NODE_RETURNED, home_words(node, claim.home)
        else:
            yield Reason.LOAN_ENDED, gone_words(node, claim.home)


def _step(node: NodeName, before: Claim | None, claim: Claim) -> Iterator[Said]:
    if before is None or before.move_id != claim.move_id:
        yield Reason.NODE_BORROWED, borrowed_words(node, claim)
    if before is not None and before.step is claim.step:
        return
    if claim.step is MoveStep.LENT:
        yield Reason.NODE_LENT, lent_words(node, claim)
    elif claim.step is MoveStep.RECALLED:
        yield Reason.NODE_RECALLED, recalled_words(node, claim)


_WAITING: Final = frozenset({RolloutState.HELD, RolloutState.TRYING, RolloutState.PROMOTED})


def _overrides(before: Decision | None, now: Decision) -> Iterator[Said]:
    if before is None:
        return  # who set them was told before this process began
    for one in now.overrides:
        if one not in before.overrides:
            yield Reason.OVERRIDE_BEGUN, f"{one.sets} until {when(one.until)}; {one.said}"
    for one in before.overrides:
        if one not in now.overrides:
            why = "its time is over" if one.until <= now.at else "it was taken away"
            yield Reason.OVERRIDE_ENDED, f"{one.sets}: {why}; the law decides again"


def _features(before: Decision | None, now: Decision) -> Iterator[Said]:
    was = {one.name: one for one in before.features} if before is not None else {}
    for one in now.features:
        earlier = was.get(one.name)
        if (earlier is not None and earlier.share == one.share) or (before is None and one.since != now.at):
            continue  # told already, perhaps by the process before this one
        if one.cause:
            yield Reason.FEATURE_SLOWED, f"{one.cause}; it lifts when {one.lifts_when}"
        elif earlier is not None:
            yield Reason.FEATURE_RESTORED, f"feature {one.name} is back at {one.share}% of users"


def _updates(before: Decision | None, now: Decision) -> Iterator[Said]:
    after = now.rollouts
    if after is None:
        return
    if after.trial is not None and after.write is not None and after.trial.since == now.at:
        yield Reason.UPDATE_TRIED, after.cause
        return
    was = before.rollouts.state if before is not None and before.rollouts is not None else RolloutState.FREE
    if after.state is was or (before is None and after.since != now.at):
        return
    if after.state is RolloutState.LEFT_ALONE:
        yield Reason.ROLLOUT_LEFT_ALONE, after.cause
    elif after.state is RolloutState.FREE and was in _WAITING:
        yield Reason.ROLLOUT_RESUMED, "updates of the service go on"
    elif after.state is RolloutState.HELD and was not in _WAITING:
        yield Reason.ROLLOUT_HELD, f"{after.cause}; they go on when {after.lifts_when}"


def _tiers(before: Decision | None, now: Decision) -> Iterator[Said]:
    states = {limit.tier: limit.state for limit in before.limits} if before is not None else {}
    for limit in now.limits:
        was = states.get(limit.tier, TierState.OPEN)
        if was is limit.state or (before is None and limit.since != now.at):
            continue
        if limit.state is TierState.OPEN:
            yield Reason.TIER_LIFTED, f"tier {limit.tier} is open again"
            continue
        rate = "" if limit.state is TierState.SUSPEND else f" at {per_minute(limit.rate)}"
        yield (
            Reason.TIER_LIMITED,
            f"tier {limit.tier}: {limit.state}{rate}; {limit.cause}; it lifts when {limit.lifts_when}",
        )
