"""From the agents' rates to demand, capacity and the signals that press."""

from collections.abc import Mapping
from dataclasses import dataclass

from meltguard.core.decision import SignalPressure
from meltguard.core.demand import TICK, Pace, ServiceLoad, demand_after, learned, total_load
from meltguard.core.limits import steps
from meltguard.core.policy import Policy, SignalKind
from meltguard.core.pressure import CRITICAL, TARGET, assess, demand_pressure, predicted_wait
from meltguard.core.seen import Memory, Reading, Snapshot
from meltguard.core.units import Seconds, Share, TierName, Units, UnitsPerSecond

HEAT_DERATING = 0.5
"""At its critical temperature a service is trusted with this much less: clocks fall silently while it looks busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the agents' counters add up to."""

    load: ServiceLoad
    demand: Mapping[TierName, UnitsPerSecond]
    per_gpu: UnitsPerSecond | None
    pace: Pace  # the same before it is trusted
    capacity: UnitsPerSecond | None  # of the GPUs that answered, derated
    backlog: Units  # that waits for a GPU, not for its tier's rate
    heat: Share
    answers: bool


def measure(
    policy: Policy, memory: Memory, seen: Snapshot, context: tuple[tuple[SignalPressure, ...], Seconds]
) -> Measured:
    """Add up what the agents counted; `context` is (platform signals, time since the last decision)."""
    platform, elapsed = context
    span = Seconds(steps(elapsed, policy.wait_target) * TICK)  # the averages' clock runs with the wait target too
    load = total_load(seen.loads, policy.tiers)
    answers = bool(seen.loads)
    guess = policy.capacity.units_per_gpu if policy.capacity else None
    pace = learned(Pace(rate=memory.units_per_gpu, evidence=memory.evidence), load, elapsed, guess)
    per_gpu = pace.trusted
    heat = _heat(policy, platform, memory.heat)
    capacity = UnitsPerSecond(per_gpu * load.gpus * heat) if per_gpu and load.gpus else None
    demand = _demand(memory, load, capacity, span) if answers else dict(memory.demand)
    return Measured(
        load=load,
        demand=demand,
        per_gpu=per_gpu,
        pace=pace,
        capacity=capacity,
        backlog=_gpu_backlog(policy, memory, load),
        heat=heat,
        answers=answers,
    )


def _demand(
    memory: Memory, load: ServiceLoad, capacity: UnitsPerSecond | None, span: Seconds
) -> dict[TierName, UnitsPerSecond]:
    return {
        name: demand_after(memory.demand.get(name), offered, capacity, span) for name, offered in load.offered.items()
    }


def _heat(policy: Policy, platform: tuple[SignalPressure, ...], before: Share) -> Share:
    """1 up to the target temperature, falling to a half at the critical one; unknown leaves it as it was."""
    hot = {signal.name for signal in policy.signals if signal.kind is SignalKind.GPU_TEMPERATURE}
    known = [signal.pressure for signal in platform if signal.name in hot and signal.pressure is not None]
    if not known:
        return before
    over = min(1.0, max(0.0, (max(known) - TARGET) / (CRITICAL - TARGET)))
    return Share(1.0 - HEAT_DERATING * over)


def _gpu_backlog(policy: Policy, memory: Memory, load: ServiceLoad) -> Units:
    """Units that wait for a GPU: what waits for its tier's rate waits by design.

    Agents tell the two apart. Where one does not say, a limited tier is taken to wait for its rate, the top class never.
    """
    top = max(tier.priority for tier in policy.tiers)
    total = 0.0
    for tier in policy.tiers:
        said = load.for_gpu.get(tier.name)
        free = tier.name not in memory.limits or memory.limits[tier.name].rate is None
        if said is not None:
            total += said
        elif free or tier.priority == top:
            total += load.waiting.get(tier.name, 0.0)
    return Units(total)


def all_signals(policy: Policy, platform: tuple[SignalPressure, ...], measured: Measured) -> tuple[SignalPressure, ...]:
    """The policy's signals, with those that the agents answer filled in, and the demand."""
    waits = {signal.name for signal in policy.signals if signal.kind is SignalKind.AGENT_WAIT}
    others = tuple(signal for signal in platform if signal.name not in waits)
    if not measured.answers:
        silent = "no agent answers; look at the serving pods and at NetworkPolicies to their agent port"
        reading = [Reading(signal=name, value=None, age=Seconds(0.0), problem=silent) for name in waits]
        own = tuple(signal for signal in assess(policy, reading) if signal.name in waits)
        return (*own, *others)
    wait = predicted_wait(measured.backlog, measured.capacity)
    problem = "" if wait is not None else "capacity is not learned yet"
    readings = [Reading(signal=name, value=wait, age=measured.load.age, problem=problem) for name in waits]
    own = tuple(signal for signal in assess(policy, readings) if signal.name in waits)
    total = UnitsPerSecond(sum(measured.demand.values()))
    return (*own, demand_pressure(total, measured.capacity, measured.load.age), *others)
