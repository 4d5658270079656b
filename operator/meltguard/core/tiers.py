"""From level, overrides and the law to what each tier may have now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from meltguard.core.decision import TierLimit
from meltguard.core.demand import ServiceLoad
from meltguard.core.limits import TierNeed, divide, idle_share, steps
from meltguard.core.motion import STILL, Motion, moved
from meltguard.core.policy import Level, Override, Policy, Tier, TierState
from meltguard.core.pressure import predicted_wait
from meltguard.core.seen import Held
from meltguard.core.units import Instant, Seconds, Share, TierName, Units, UnitsPerSecond

Rates = Mapping[TierName, UnitsPerSecond | None]
"""Every tier's rate; None is no limit."""


UNLIMITED = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """What the law goes by in one pass."""

    budget: UnitsPerSecond | None  # None: capacity is not learned; no limit begins, none is lifted
    capacity: UnitsPerSecond | None
    load: ServiceLoad
    backlog: Units  # that waits for a GPU
    demand: Mapping[TierName, UnitsPerSecond]
    span: Seconds  # since the last decision
    now: Instant
    works: UnitsPerSecond | None  # what all GPUs do that work on what waits
    busy: Share  # of the GPUs that `capacity` counts
    leaves: UnitsPerSecond  # what GPUs do that go home
    pressed: bool = True  # the level is above Normal


def active_overrides(policy: Policy, now: Instant) -> tuple[Override, ...]:
    """A person's words that still hold."""
    return tuple(override for override in policy.overrides if override.until > now)


def tier_state(tier: Tier, level: Level, overrides: tuple[Override, ...]) -> tuple[TierState, str]:
    """What happens to a tier at a level, and why; a level that names nothing keeps the milder one's measure."""
    for override in overrides:
        if override.tier == tier.name and override.state is not None:
            return override.state, override.said
    named = [(at, state) for at, state in tier.on_level.items() if at <= level]
    if not named:
        return TierState.OPEN, ""
    at, state = max(named, key=lambda pair: pair[0])
    return state, f"level {at.label} asks for {state} on tier {tier.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """Every tier's limit now, and what to remember of it."""

    limits: tuple[TierLimit, ...]
    held: Mapping[TierName, Held]
    keeps_out: bool  # limits that have risen as far as the budget lets them keep demand out


def limit_tiers(policy: Policy, level: Level, law: Law, held: Mapping[TierName, Held]) -> Limited:
    """Every tier's limit after `held`."""
    overrides = active_overrides(policy, law.now)
    states = {tier.name: tier_state(tier, level, overrides) for tier in policy.tiers}
    suspended = frozenset(name for name, (state, _) in states.items() if state is TierState.SUSPEND)
    needs = [
        TierNeed(tier=tier, demand=law.demand.get(tier.name, UnitsPerSecond(0.0)), suspended=tier.name in suspended)
        for tier in policy.tiers
    ]
    wanted = _wanted(needs, law, held)
    rates = _rates(policy, needs, (held, wanted), law)
    limits: list[TierLimit] = []
    kept: dict[TierName, Held] = {}
    for tier in policy.tiers:
        state, cause = states[tier.name]
        rate, said = _overridden(tier.name, rates[tier.name], overrides)
        limit = _tier_limit(tier, (state, said or cause), rate, law)
        before = held.get(tier.name)
        limited = bool(limit.cause)
        since = (before.since if before and before.since is not None else law.now) if limited else None
        kept[tier.name] = _kept(before, Held(rate=rates[tier.name], since=since, cause=limit.cause), law.now)
        limits.append(_since(limit, since))
    return Limited(limits=tuple(limits), held=kept, keeps_out=_keeps_out(needs, rates, wanted, law.budget or 0.0))


def _kept(before: Held | None, after: Held, now: Instant) -> Held:
    """What is remembered: also which way the limit goes, and since when."""
    last = before or Held(rate=None, since=None)
    was, rate = (UNLIMITED if one.rate is None else one.rate for one in (last, after))
    if rate == was or (rate > was) == last.rising:
        return replace(after, rising=last.rising, turned=last.turned)
    return replace(after, rising=rate > was, turned=now)


def _keeps_out(needs: Sequence[TierNeed], rates: Rates, wanted: Rates, budget: float) -> bool:
    finite = [(need, rate, wanted[need.tier.name]) for need in needs if (rate := rates[need.tier.name]) is not None]
    rising = any(goal is None or goal > rate + STILL * budget for _, rate, goal in finite)
    return not rising and any(need.demand > rate for need, rate, _ in finite if not need.suspended)


def _wanted(needs: Sequence[TierNeed], law: Law, held: Mapping[TierName, Held]) -> Rates:
    if law.budget is not None:
        return divide(needs, law.budget)
    return {need.tier.name: held[need.tier.name].rate if need.tier.name in held else None for need in needs}


def _rates(
    policy: Policy, needs: Sequence[TierNeed], change: tuple[Mapping[TierName, Held], Rates], law: Law
) -> dict[TierName, UnitsPerSecond | None]:
    held, wanted = change
    before = {need.tier.name: held[need.tier.name].rate if need.tier.name in held else None for need in needs}
    if law.budget is None:
        return {need.tier.name: UnitsPerSecond(0.0) if need.suspended else before[need.tier.name] for need in needs}
    return {
        need.tier.name: moved(
            before[need.tier.name], wanted[need.tier.name], need, _motion(policy, need, law, held.get(need.tier.name))
        )
        for need in needs
    }


def _motion(policy: Policy, need: TierNeed, law: Law, held: Held | None) -> Motion:
    upward = (t.name for t in policy.tiers if t.priority >= need.tier.priority)
    own = Units(sum(law.load.waiting.get(name, 0.0) for name in upward))
    return Motion(
        steps=steps(law.span, policy.wait_target),
        budget=law.budget or UnitsPerSecond(0.0),
        demand=UnitsPerSecond(sum(law.demand.values())),
        idle=UnitsPerSecond(idle_share(law.busy) * (law.capacity or 0.0)),
        own_wait=predicted_wait(own, law.works),
        gpu_wait=predicted_wait(law.backlog, law.works),
        target=policy.wait_target,
        rising=held is None or held.rising,
        turned_ago=None if held is None or held.turned is None else Seconds(law.now - held.turned),
        pressed=law.pressed,
        leaves=law.leaves,
    )


def _overridden(
    tier: TierName, rate: UnitsPerSecond | None, overrides: tuple[Override, ...]
) -> tuple[UnitsPerSecond | None, str]:
    for override in overrides:
        if override.tier == tier and override.limit is not None:
            return override.limit, override.said
    return rate, ""


def _tier_limit(tier: Tier, state: tuple[TierState, str], rate: UnitsPerSecond | None, law: Law) -> TierLimit:
    """Put state and rate together: a rate needs at least Delay, Suspend is a rate of 0, no rate needs no cause."""
    effective, cause = state
    demand = law.demand.get(tier.name, UnitsPerSecond(0.0))
    if effective is TierState.SUSPEND:
        lifts = "the level falls or the override ends"
        return _limit(tier, (effective, UnitsPerSecond(0.0)), demand, (cause, lifts))
    if rate is None:
        return _limit(tier, (TierState.OPEN, None), demand, ("", ""))
    if effective is TierState.OPEN:
        effective = TierState.DELAY
    if not cause.startswith("override"):
        capacity = law.capacity or 0.0
        total = sum(law.demand.values())
        cause = f"demand {total:.2f}/s is more than the GPUs' {capacity:.2f}/s; tier {tier.name} gives way"
    return _limit(tier, (effective, rate), demand, (cause, "demand falls below capacity, or nodes arrive"))


def _limit(
    tier: Tier, what: tuple[TierState, UnitsPerSecond | None], demand: UnitsPerSecond, said: tuple[str, str]
) -> TierLimit:
    return TierLimit(
        tier=tier.name, state=what[0], rate=what[1], demand=demand, since=None, cause=said[0], lifts_when=said[1]
    )


def _since(limit: TierLimit, since: Instant | None) -> TierLimit:
    return TierLimit(
        tier=limit.tier,
        state=limit.state,
        rate=limit.rate,
        demand=limit.demand,
        since=since,
        cause=limit.cause,
        lifts_when=limit.lifts_when,
    )
