"""Other ways to set the tiers' limits. Each keeps all of ours but the rates: levels, queues, pushes, priority."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from meltguard.core.decide import decide
from meltguard.core.decision import Decision, TierLimit
from meltguard.core.demand import total_load
from meltguard.core.memory import Held, Memory
from meltguard.core.overrides import state_at
from meltguard.core.policy import Policy, TierState
from meltguard.core.seen import Snapshot
from meltguard.core.units import Instant, TierName, UnitsPerSecond

Rates = Mapping[TierName, UnitsPerSecond | None]
RateLaw = Callable[[Decision, Snapshot], Rates]


class Rival:
    """Our decision with another law's rates in it."""

    def __init__(self, policy: Policy, law: RateLaw) -> None:
        self._policy, self._law, self._memory = policy, law, Memory()

    def __call__(self, seen: Snapshot, now: Instant) -> Decision:
        """One pass."""
        decision = decide(self._policy, self._memory, seen, now)
        rates = self._law(decision, seen)
        limits = tuple(self._limit(limit, rates[limit.tier], decision) for limit in decision.limits)
        held = {limit.tier: Held(rate=limit.rate, since=None, cause=limit.cause) for limit in limits}
        self._memory = replace(decision.memory, limits=held, trim=1.0)
        return replace(decision, limits=limits, memory=self._memory)

    def _limit(self, limit: TierLimit, rate: UnitsPerSecond | None, decision: Decision) -> TierLimit:
        if rate is None:
            return replace(limit, rate=None, state=TierState.OPEN, cause="")
        tier = next(tier for tier in self._policy.tiers if tier.name == limit.tier)
        asked, _ = state_at(tier, decision.level)
        state = asked if asked in {TierState.DELAY, TierState.REJECT} else TierState.DELAY
        return replace(limit, rate=rate, state=state, cause="a rival's limit")


class Aimd:
    """The lowest class's limit: times 0.7 while the GPUs or their queue are full, else half a unit a second more.

    The step (5 s at a wait target of 4 s) and the half unit (for 64 GPUs of 6 s an image) scale with the service, as
    our own constants do. It lies between the class's floor and what the service's own GPUs do.
    """

    DOWN, UP, FULL = 0.7, 0.5 / 10.67, 0.95

    def __init__(self, policy: Policy, nominal: UnitsPerSecond) -> None:
        self._policy, self._nominal, self._rate = policy, nominal, nominal
        self._lowest = min(policy.tiers, key=lambda tier: tier.priority)
        self._next = 0.0

    def __call__(self, decision: Decision, seen: Snapshot) -> Rates:
        """The rates now."""
        if decision.at >= self._next:
            self._next = decision.at + 1.25 * self._policy.wait_target
            load = total_load(seen.loads, self._policy.tiers)
            wait = max((one.value or 0.0 for one in decision.signals if one.unit == "s"), default=0.0)
            full = load.busy > self.FULL or wait > self._policy.wait_target
            changed = self._rate * self.DOWN if full else self._rate + self.UP * self._nominal
            least = self._lowest.floor * self._nominal
            self._rate = UnitsPerSecond(max(least, min(self._nominal, changed)))
        return {tier.name: self._rate if tier is self._lowest else None for tier in self._policy.tiers}


class OnOff:
    """The lowest class is shut while the GPUs are busier than nine tenths, else open."""

    FULL = 0.9

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._lowest = min(tier.priority for tier in policy.tiers)

    def __call__(self, decision: Decision, seen: Snapshot) -> Rates:
        """The rates now."""
        del decision
        full = total_load(seen.loads, self._policy.tiers).busy > self.FULL
        return {
            tier.name: UnitsPerSecond(0.0) if full and tier.priority == self._lowest else None
            for tier in self._policy.tiers
        }


class Static:
    """The lowest class has what the service's GPUs do beyond the others' mean demand in overload, known beforehand."""

    def __init__(self, policy: Policy, left: UnitsPerSecond) -> None:
        self._policy, self._left = policy, left
        self._lowest = min(tier.priority for tier in policy.tiers)

    def __call__(self, decision: Decision, seen: Snapshot) -> Rates:
        """The rates now."""
        del decision, seen
        return {tier.name: self._left if tier.priority == self._lowest else None for tier in self._policy.tiers}
