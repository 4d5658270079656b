"""From level, overrides and the law to what each tier may have now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from meltguard.core.decision import TierLimit
from meltguard.core.demand import ServiceLoad
from meltguard.core.level import LevelNow
from meltguard.core.limit_words import LawfulLimit, words_of
from meltguard.core.limits import UNLIMITED, TierNeed, asked, divide, idle_share, steps
from meltguard.core.memory import Held
from meltguard.core.motion import STILL, Motion, moved
from meltguard.core.overrides import Measure, active_overrides, measure_for
from meltguard.core.policy import Level, Mode, Policy, TierState
from meltguard.core.pressure import predicted_wait
from meltguard.core.units import Instant, Seconds, Share, TierName, Units, UnitsPerSecond

Rates = Mapping[TierName, UnitsPerSecond | None]
"""Every tier's rate; None is no limit."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """Every tier's limit now, and what to remember of it."""

    limits: tuple[TierLimit, ...]
    held: Mapping[TierName, Held]
    keeps_out: bool  # limits of the law that have risen as far as the budget lets them keep demand out
    is_lawful: bool  # the law limits some tier


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pass:
    """One pass over the tiers."""

    policy: Policy
    level: LevelNow
    law: Law
    held: Mapping[TierName, Held]
    measures: Mapping[TierName, Measure]
    needs: tuple[TierNeed, ...]
    wanted: Rates

    @property
    def demand(self) -> UnitsPerSecond:
        """What all tiers ask for, as far as no person gives one less."""
        needs = self.needs
        return UnitsPerSecond(sum(asked(one) if one.fixed and not _is_shut(one) else one.demand for one in needs))


def limit_tiers(policy: Policy, level: LevelNow, law: Law, held: Mapping[TierName, Held]) -> Limited:
    """Every tier's limit after `held`."""
    overrides = active_overrides(policy, law.now)
    measures = {tier.name: measure_for(tier, level, overrides) for tier in policy.tiers}
    needs = tuple(
        TierNeed(tier=t, demand=law.demand.get(t.name, UnitsPerSecond(0.0)), fixed=measures[t.name].fixed)
        for t in policy.tiers
    )
    this = _Pass(
        policy=policy,
        level=level,
        law=law,
        held=held,
        measures=measures,
        needs=needs,
        wanted=_wanted(needs, law, held),
    )
    rates = {need.tier.name: _rate(this, need) for need in needs}
    limits = tuple(_since(this, _tier_limit(this, need, rates[need.tier.name])) for need in needs)
    return Limited(
        limits=limits,
        held={limit.tier: _kept(this, limit, rates[limit.tier]) for limit in limits},
        keeps_out=_keeps_out(this, rates),
        is_lawful=any(need.fixed is None and rates[need.tier.name] is not None for need in needs),
    )


def _is_shut(need: TierNeed) -> bool:
    return need.fixed is not None and need.fixed.rate is not None and need.fixed.rate <= 0


def _wanted(needs: Sequence[TierNeed], law: Law, held: Mapping[TierName, Held]) -> Rates:
    if law.budget is not None:
        return divide(needs, law.budget)
    return {need.tier.name: held[need.tier.name].rate if need.tier.name in held else None for need in needs}


def _rate(this: _Pass, need: TierNeed) -> UnitsPerSecond | None:
    before, wanted = this.held.get(need.tier.name), this.wanted[need.tier.name]
    if need.fixed is not None:
        return need.fixed.rate
    if this.law.budget is None:
        return None if before is None else before.rate
    if this.policy.mode is Mode.PAUSED:
        return _frozen(before, wanted, this.level)
    return moved(None if before is None else before.rate, wanted, need, _motion(this, need))


def _frozen(before: Held | None, wanted: UnitsPerSecond | None, level: LevelNow) -> UnitsPerSecond | None:
    """A pause keeps the law's rates. Where a person's word has ended meanwhile, the law is asked once what follows."""
    if before is None or before.by_law:
        return None if before is None else before.rate
    return None if level.level is Level.NORMAL else wanted


def _motion(this: _Pass, need: TierNeed) -> Motion:
    policy, law, held = this.policy, this.law, this.held.get(need.tier.name)
    upward = (t.name for t in policy.tiers if t.priority >= need.tier.priority)
    own = Units(sum(law.load.waiting.get(name, 0.0) for name in upward))
    return Motion(
        steps=steps(law.span, policy.wait_target),
        budget=law.budget or UnitsPerSecond(0.0),
        demand=this.demand,
        idle=UnitsPerSecond(idle_share(law.busy) * (law.capacity or 0.0)),
        own_wait=predicted_wait(own, law.works),
        gpu_wait=predicted_wait(law.backlog, law.works),
        target=policy.wait_target,
        rising=held is None or held.rising,
        turned_ago=None if held is None or held.turned is None else Seconds(law.now - held.turned),
        pressed=this.level.level is not Level.NORMAL,
        leaves=law.leaves,
    )


def _kept(this: _Pass, limit: TierLimit, rate: UnitsPerSecond | None) -> Held:
    """What is remembered: also which way the limit goes, and since when."""
    before = this.held.get(limit.tier)
    last = before or Held(rate=None, since=None)
    unasked = this.law.budget is None and not last.by_law
    after = Held(
        rate=rate,
        since=limit.since,
        cause=limit.cause,
        rising=last.rising,
        turned=last.turned,
        by_law=this.measures[limit.tier].fixed is None and not unasked,
    )
    was, now = (UNLIMITED if one is None else one for one in (last.rate, rate))
    if now == was or (now > was) == last.rising:
        return after
    return replace(after, rising=now > was, turned=this.law.now)


def _keeps_out(this: _Pass, rates: Rates) -> bool:
    """A rate that is fixed says nothing of what the GPUs could do."""
    lawful = [(need, rates[need.tier.name], this.wanted[need.tier.name]) for need in this.needs if need.fixed is None]
    finite = [(need, rate, wanted) for need, rate, wanted in lawful if rate is not None]
    still = STILL * (this.law.budget or 0.0)
    rising = any(wanted is None or wanted > rate + still for _, rate, wanted in finite)
    return not rising and any(need.demand > rate for need, rate, _ in finite)


def _tier_limit(this: _Pass, need: TierNeed, rate: UnitsPerSecond | None) -> TierLimit:
    """Put state and rate together: a rate needs at least Delay, Suspend is a rate of 0, no rate needs no cause."""
    measure = this.measures[need.tier.name]
    if rate is None:
        return _limit(need, (TierState.OPEN, None), ("", ""))
    if measure.fixed is not None:
        return _limit(need, (measure.state, rate), (measure.cause, measure.lifts_when), measure.until)
    cause, lifts = words_of(_lawful(this, need))
    state = TierState.DELAY if measure.state is TierState.OPEN else measure.state
    return _limit(need, (state, rate), ("; ".join(filter(None, (cause, measure.cause))), lifts))


def _lawful(this: _Pass, need: TierNeed) -> LawfulLimit:
    return LawfulLimit(
        need=need,
        needs=this.needs,
        wanted=this.wanted[need.tier.name],
        motion=_motion(this, need),
        budget=this.law.budget,
        capacity=this.law.capacity,
        backlog=this.law.backlog,
        paused=this.policy.mode is Mode.PAUSED,
    )


def _limit(
    need: TierNeed,
    what: tuple[TierState, UnitsPerSecond | None],
    said: tuple[str, str],
    until: Instant | None = None,
) -> TierLimit:
    return TierLimit(
        tier=need.tier.name,
        state=what[0],
        rate=what[1],
        demand=need.demand,
        since=None,
        cause=said[0],
        lifts_when=said[1],
        until=until,
    )


def _since(this: _Pass, limit: TierLimit) -> TierLimit:
    """A limitation goes on since it began, whoever's word it is meanwhile."""
    if not limit.cause:
        return limit
    before = this.held.get(limit.tier)
    return replace(limit, since=before.since if before and before.since is not None else this.law.now)
