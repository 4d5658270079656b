"""From the agents' rates to demand, capacity and the signals that press."""

from collections.abc import Mapping
from dataclasses import dataclass

from meltguard.core.decision import SignalPressure
from meltguard.core.demand import TICK, Pace, ServiceLoad, demand_after, learned, total_load
from meltguard.core.heat import heat_of
from meltguard.core.limits import steps
from meltguard.core.models import Speeds, rate_of_mix, speeds_after
from meltguard.core.policy import Policy, SignalKind
from meltguard.core.pressure import assess, demand_pressure, predicted_wait
from meltguard.core.seen import Memory, Reading, Snapshot
from meltguard.core.units import PodUid, Seconds, Share, TierName, Units, UnitsPerSecond


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the agents' counters add up to."""

    load: ServiceLoad
    demand: Mapping[TierName, UnitsPerSecond]
    per_gpu: UnitsPerSecond | None
    pace: Pace  # of all together, before it is trusted
    speeds: Speeds  # of each model for itself
    capacity: UnitsPerSecond | None  # of the GPUs that answered, derated
    backlog: Units  # that waits for a GPU, not for its tier's rate
    heat: Share
    heat_by_pod: Mapping[PodUid, Share]
    answers: bool


def measure(
    policy: Policy, memory: Memory, seen: Snapshot, context: tuple[tuple[SignalPressure, ...], Seconds]
) -> Measured:
    """Add up what the agents counted; `context` is (platform signals, time since the last decision)."""
    platform, elapsed = context
    span = Seconds(steps(elapsed, policy.wait_target) * TICK)  # the averages' clock runs with the wait target too
    load = total_load(seen.believed, policy.tiers)
    answers = bool(seen.believed)
    guess = policy.capacity.units_per_gpu if policy.capacity else None
    heat = heat_of(policy, platform, seen, memory.heat)
    pace = learned(_pace(memory), total_load(heat.cool, policy.tiers), elapsed, guess)
    speeds = speeds_after(memory.speeds, heat.cool, seen.models, (elapsed, pace))
    per_gpu = rate_of_mix(speeds, seen.believed, seen.models, pace.trusted)
    capacity = UnitsPerSecond(per_gpu * load.gpus * heat.share) if per_gpu and load.gpus else None
    demand = _demand(memory, load, capacity, span) if answers else dict(memory.demand)
    return Measured(
        load=load,
        demand=demand,
        per_gpu=per_gpu,
        pace=pace,
        speeds=speeds,
        capacity=capacity,
        backlog=_gpu_backlog(policy, memory, load),
        heat=heat.share,
        heat_by_pod=heat.by_pod,
        answers=answers,
    )


def _pace(memory: Memory) -> Pace:
    return Pace(rate=memory.units_per_gpu, evidence=memory.evidence if memory.units_per_gpu else Units(0.0))


def _demand(
    memory: Memory, load: ServiceLoad, capacity: UnitsPerSecond | None, span: Seconds
) -> dict[TierName, UnitsPerSecond]:
    return {
        name: demand_after(memory.demand.get(name), offered, capacity, span) for name, offered in load.offered.items()
    }


def _gpu_backlog(policy: Policy, memory: Memory, load: ServiceLoad) -> Units:
    """Units that wait for a GPU: what waits for its tier's rate waits by design.

    Agents tell the two apart. Where one does not, a limited tier is taken to wait for its rate, the top class never.
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
