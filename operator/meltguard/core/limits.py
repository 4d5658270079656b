"""The control law of the tiers' limits (reference: throttling, section 3), its constants stated per wait target.

Symbols: C capacity (units/s), W predicted wait (s), W* the policy's wait target (s), B budget (units/s).
The wait target is the law's time scale: the constants were tuned at W* = 4 s and a tick of 5 s, and scale with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meltguard.core.policy import Tier
from meltguard.core.units import Seconds, Share, TierName, Units, UnitsPerSecond

UNLIMITED = float("inf")

UTILIZATION = Share(0.98)
"""GPUs that are busy for this share of their time are used up."""

FILL = 0.5
"""The law keeps this share of the wait target waiting for the GPUs, so that none of them ever waits for work."""

DRAIN_TARGETS = 11.0
"""A backlog beside that is worked off, or built up, over this many wait targets: exponentially, not all at once."""

REST, REST_TARGETS = Seconds(120.0), 30.0
"""A limit that turned turns again after this long, or so many wait targets, whichever is less.

So what pods are told turns at most once a minute. A backlog is not worked off faster: the limit must be up again when
the queue is gone.
"""

TRIM_UP, TRIM_BACK, TRIM_DOWN = 0.3, 0.3, 0.002
"""What one step adds to the trim, of the idle share; takes back of that, of the excess wait; and takes off a trim of 1.

The last is small: a queue says that too much was let in, seldom that the capacity, which is measured, is less.
"""

TRIM_LEAST, TRIM_MOST, TRIM_FORGETS = 0.5, 2.0, 0.02

SCALE_TARGETS = 1.25
"""One step of the law (5 s at W* = 4 s) in wait targets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """A rate in which the law has no say: a suspension's, or a person's. None is no limit."""

    rate: UnitsPerSecond | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TierNeed:
    """What one tier asks for."""

    tier: Tier
    demand: UnitsPerSecond
    fixed: Fixed | None = None  # None: its rate is the law's


def steps(span: Seconds, wait_target: Seconds) -> float:
    """How many steps of the law a span is."""
    return float(max(0.0, span) / (SCALE_TARGETS * wait_target))


def rest(wait_target: Seconds) -> Seconds:
    """How long a limit that turned goes on before it may turn again.

    >>> [rest(Seconds(target)) for target in (1.0, 4.0, 18.0)]
    [30.0, 120.0, 120.0]
    """
    return Seconds(min(REST, REST_TARGETS * wait_target))


def idle_share(busy: Share) -> float:
    """The share of the GPUs' time that should be used and is not."""
    return max(0.0, UTILIZATION - busy)


def trimmed(trim: float, wait: tuple[float, Seconds], state: tuple[bool, Share], count: float) -> float:
    """The feedback trim after `count` steps. `wait` is (W, W*), `state` (limits keep demand out, busy share).

    Above target it falls with the excess; it rises only while limits that have come to rest keep demand out and GPUs
    are idle all the same, and the more the more are; else it is frozen (anti-windup).
    """
    predicted, target = wait
    kept_out, busy = state
    if predicted > target:
        excess = (predicted - target) / target
        kept = float(max(0.0, 1.0 - TRIM_BACK * excess) ** count)
        lowered = float(max(0.5, 1.0 - TRIM_DOWN * excess) ** count)
        return 1.0 + (trim - 1.0) * kept if trim > 1.0 else max(TRIM_LEAST, trim * lowered)
    if kept_out:
        return min(TRIM_MOST, trim * float((1.0 + TRIM_UP * idle_share(busy)) ** count))
    return trim


def forgotten(trim: float, count: float) -> float:
    """The trim after `count` steps without any limit: what it made up for may be over."""
    change = TRIM_FORGETS * count
    return trim + max(-change, min(change, 1.0 - trim))


def budget(capacity: UnitsPerSecond, trim: float, backlog: Units, wait_target: Seconds) -> UnitsPerSecond:
    """B = g C - (backlog - C W* / 2) / T, at least 0; T is 11 W*, or the rest where that is more.

    >>> budget(UnitsPerSecond(10.0), 1.0, Units(90.0), Seconds(18.0))
    10.0
    >>> round(budget(UnitsPerSecond(10.0), 1.0, Units(288.0), Seconds(18.0)), 2)
    9.0
    """
    excess = backlog - FILL * capacity * wait_target
    drain = max(rest(wait_target), DRAIN_TARGETS * wait_target)
    return UnitsPerSecond(max(0.0, trim * capacity - excess / drain))


def divide(needs: Sequence[TierNeed], available: UnitsPerSecond) -> dict[TierName, UnitsPerSecond | None]:
    """Each tier's limit; None is no limit.

    What is fixed is taken off first, for nothing here changes it. Then floors, then classes of equal priority from the
    top, by weighted max-min. Only the class where the budget runs out, and those below, get a limit: nobody is limited
    while a lower tier has more than its floor.
    """
    limits = {need.tier.name: need.fixed.rate for need in needs if need.fixed is not None}
    bound = [need for need in needs if need.fixed is None]
    floors = {need.tier.name: need.tier.floor * available for need in bound}
    taken = sum(min(floors.get(need.tier.name, UNLIMITED), asked(need)) for need in needs)
    left = max(0.0, available - taken)
    for priority in sorted({need.tier.priority for need in bound}, reverse=True):
        group = [need for need in bound if need.tier.priority == priority]
        wanted = sum(max(0.0, asked(need) - floors[need.tier.name]) for need in group)
        if wanted <= left:
            limits |= {need.tier.name: None for need in group}
            left -= wanted
        else:
            limits |= _shared_out(group, floors, max(0.0, left))
            left = 0.0
    return limits


def asked(need: TierNeed) -> float:
    """Units a second that the tier may be given at most."""
    bounds = (need.tier.max_rate, None if need.fixed is None else need.fixed.rate)
    return min((need.demand, *(bound for bound in bounds if bound is not None)))


def _shared_out(
    group: Sequence[TierNeed], floors: Mapping[TierName, float], left: float
) -> dict[TierName, UnitsPerSecond | None]:
    """Weighted max-min: every tier may have its floor and `share` times its weight; `share` spends what is left."""
    share = water_level([(asked(n) - floors[n.tier.name], float(n.tier.weight)) for n in group], left)
    return {n.tier.name: UnitsPerSecond(floors[n.tier.name] + share * n.tier.weight) for n in group}


def water_level(wants: Sequence[tuple[float, float]], amount: float) -> float:
    """The level L with sum of min(want, L * weight) = amount, where the wants exceed the amount.

    >>> water_level([(1.0, 1.0), (10.0, 1.0)], 5.0)
    4.0
    """
    ordered = sorted((max(0.0, want), weight) for want, weight in wants)
    ordered.sort(key=lambda pair: pair[0] / pair[1])
    weight_left = sum(weight for _, weight in ordered)
    for want, weight in ordered:
        level = amount / weight_left
        if want > level * weight:
            return level
        amount -= want
        weight_left -= weight
        if weight_left <= 0:
            break
    return max((want / weight for want, weight in ordered), default=0.0)
