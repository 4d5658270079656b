"""Which pods need a new grant, and in which order: decreases first, increases once those are acknowledged. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from meltguard.core.decision import Decision
from meltguard.core.grant import Grant
from meltguard.core.load import PodLoad
from meltguard.core.shares import HeldShare, room_after, shares, weights
from meltguard.core.units import PodUid, TierName, UnitsPerSecond

FALL, RISE = 0.05, 0.05
"""A total is passed on once it fell, or rose, by this share of itself: not every tick is worth a push."""

DRIFT = 0.25
"""A pod's part of a total is passed on once it moved by this share of itself."""

Rates = Mapping[TierName, UnitsPerSecond]
"""The limited tiers' rates at one pod; a tier that is not there has no rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushPlan:
    """The rates to hand out: first `decrease`, then, over what was then acknowledged, `finish`."""

    totals: Rates  # what the tiers have altogether once the plan is carried out
    wanted: Mapping[PodUid, Rates]
    decrease: Mapping[PodUid, Rates]
    increases: bool  # some pod is to get more than it holds, or a tier's limit ends


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """What has been handed out so far."""

    totals: Rates = field(default_factory=dict)
    held: Mapping[PodUid, Rates] = field(default_factory=dict)  # what each pod may be using at most
    least: Mapping[PodUid, Rates] = field(default_factory=dict)  # and at least, where nobody knows what it heard


def steadied(before: Rates, decision: Decision) -> Rates:
    """The tiers' totals to hand out now: small changes wait until they add up."""
    now = {limit.tier: limit.rate for limit in decision.limits if limit.rate is not None}
    return {tier: before[tier] if _close(before.get(tier), rate) else rate for tier, rate in now.items()}


def _close(before: UnitsPerSecond | None, now: UnitsPerSecond) -> bool:
    return before is not None and before * (1.0 - FALL) <= now <= before * (1.0 + RISE) and (now > 0) == (before > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """Pods that did not acknowledge their last push. All count at what they may hold; some are tried again now."""

    pods: frozenset[PodUid] = frozenset()
    tried: frozenset[PodUid] = frozenset()


def plan_push(
    totals: Rates, pods: Sequence[PodUid], loads: Sequence[PodLoad], force: InForce, silent: Silent
) -> PushPlan:
    """Divide the totals over the pods; who is tried again is offered no more than it counts at already."""
    wanted: dict[PodUid, dict[TierName, UnitsPerSecond]] = {
        pod: {} for pod in pods if pod not in silent.pods or pod in silent.tried
    }
    for tier, total in totals.items():
        parts = weights(_arrivals(loads, tier), pods)
        quiet = {
            pod: force.held.get(pod, {}).get(tier, total * part) for pod, part in parts.items() if pod in silent.pods
        }
        fresh = shares(total, parts, quiet)
        kept = {pod: _kept(rate, tier, (pod, total), force) for pod, rate in fresh.items()}
        fitted = _fitted(kept, sum(fresh.values()))
        left = total - sum(fitted.values()) - sum(quiet.values())
        offered = {pod: _offered(total * parts[pod], quiet[pod], left) for pod in silent.tried & quiet.keys()}
        for pod, rate in (fitted | offered).items():
            wanted[pod][tier] = rate
    least = {**force.held, **force.least}
    decrease = {pod: _decreased(rates, least.get(pod)) for pod, rates in wanted.items()}
    increases = any(wanted[pod] != decrease[pod] for pod in wanted)
    return PushPlan(totals=totals, wanted=wanted, decrease=decrease, increases=increases)


def _kept(rate: UnitsPerSecond, tier: TierName, where: tuple[PodUid, UnitsPerSecond], force: InForce) -> UnitsPerSecond:
    """A pod's part stays while the total does and it would hardly move."""
    pod, total = where
    before = force.held.get(pod, {}).get(tier)
    return before if force.totals.get(tier) == total and before is not None and _near(before, rate) else rate


def _offered(part: float, counted: float, left: float) -> UnitsPerSecond:
    """What a pod is offered that counts at `counted` already; `left` beside it is less than 0 where all are over."""
    return UnitsPerSecond(max(0.0, min(part, counted, counted + left)))


def _near(before: UnitsPerSecond, now: UnitsPerSecond) -> bool:
    return abs(now - before) <= DRIFT * before


def _fitted(kept: dict[PodUid, UnitsPerSecond], room: float) -> dict[PodUid, UnitsPerSecond]:
    """Parts that were kept for steadiness may add up to a little more than there is: scale them back."""
    whole = sum(kept.values())
    return kept if whole <= room else {pod: UnitsPerSecond(rate * room / whole) for pod, rate in kept.items()}


def _arrivals(loads: Sequence[PodLoad], tier: TierName) -> dict[PodUid, float]:
    return {load.pod: load.tiers[tier].offered for load in loads if tier in load.tiers}


def _decreased(wanted: Rates, held: Rates | None) -> Rates:
    """The lesser of old and new for every tier; a pod that holds nothing yet is as if it had no limit at all."""
    return wanted if held is None else lesser(wanted, held)


def larger(one: Rates, other: Rates) -> Rates:
    """What a pod may admit that obeys one of the two, and nobody knows which: without a limit where one has none.

    >>> larger({"free": 1.0, "plus": 2.0}, {"free": 3.0})
    {'free': 3.0}
    """
    return {tier: max(rate, other[tier]) for tier, rate in one.items() if tier in other}


def lesser(one: Rates, other: Rates) -> Rates:
    """What a pod surely admits that obeys one of the two, and nobody knows which.

    >>> lesser({"free": 1.0, "plus": 2.0}, {"free": 3.0})
    {'free': 1.0, 'plus': 2.0}
    """
    return {**one, **{tier: min(rate, one.get(tier, rate)) for tier, rate in other.items()}}


def finish_push(plan: PushPlan, held: Mapping[PodUid, Rates]) -> Mapping[PodUid, Rates]:
    """The final rates, given what every pod holds after the decreases: no more is handed out than has come free."""
    final: dict[PodUid, dict[TierName, UnitsPerSecond]] = {pod: {} for pod in plan.wanted}
    for tier, total in plan.totals.items():
        wanted = {pod: rates[tier] for pod, rates in plan.wanted.items() if tier in rates}
        holding = {pod: HeldShare(rate=rates.get(tier)) for pod, rates in held.items()}
        for pod, rate in room_after(total, wanted, holding).items():
            final[pod][tier] = rate
    return final


def content(grant: Grant) -> tuple[object, ...]:
    """What makes one grant differ from the next for the agent: all but stamps, rates and words."""
    tiers = tuple(
        (
            t.name,
            t.priority,
            t.state,
            t.rate is None,
            t.max_wait,
            t.shed_status,
            t.max_rate,
            t.floor,
            t.quota,
            t.message,
            t.until,
        )
        for t in grant.tiers
    )
    ends = tuple((one.name, one.until) for one in grant.slowed)
    return (grant.kind, grant.level, grant.heat, tuple(sorted(grant.features.items())), ends, tiers)
