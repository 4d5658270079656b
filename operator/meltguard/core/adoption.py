"""The first passes of an operator that remembers nothing: what the pods hold is adopted before anything is issued."""

from collections.abc import Mapping
from dataclasses import replace

from meltguard.core.memory import Held, Memory
from meltguard.core.policy import Policy
from meltguard.core.seen import Snapshot
from meltguard.core.units import Instant, Seconds, Share, TierName, UnitsPerSecond

ENOUGH = Share(0.8)
"""Of the ready pods must have answered before it counts as known what they hold."""

LEARNING_ENDS = Seconds(30.0)
"""After this long those that did answer must do; well within the lease that the pods go by."""


def is_learning(memory: Memory, seen: Snapshot, now: Instant) -> bool:
    """Whether nothing may be issued yet."""
    if memory.decided_at is not None or not seen.ready_pods:
        return False
    began = memory.level_since if memory.level_since > 0 else now
    return seen.coverage < ENOUGH and now - began < LEARNING_ENDS


def adopted(policy: Policy, memory: Memory, seen: Snapshot, now: Instant) -> Memory:
    """The memory with the limits that the pods enforce, where it has none of its own."""
    if memory.decided_at is not None or memory.limits:
        return memory
    held = {tier.name: _held_by_pods(seen, tier.name) for tier in policy.tiers}
    return replace(memory, limits=_limits(held, now))


def _limits(held: Mapping[TierName, UnitsPerSecond | None], now: Instant) -> dict[TierName, Held]:
    return {
        name: Held(rate=rate, since=now, cause="found in force", rising=False, turned=now)
        for name, rate in held.items()
        if rate is not None
    }


def _held_by_pods(seen: Snapshot, tier: TierName) -> UnitsPerSecond | None:
    """The tier's whole rate, pods that did not answer counted like the others; None where a pod has no limit."""
    rates = [load.tiers[tier].rate for load in seen.loads if tier in load.tiers]
    finite = [rate for rate in rates if rate is not None]
    if not rates or len(finite) < len(rates):
        return None
    return UnitsPerSecond(sum(finite) * max(1.0, seen.ready_pods / len(rates)))
