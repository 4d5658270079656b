"""From the agents' rates to demand, capacity and the signals that press."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from meltguard.core.averages import TICK
from meltguard.core.decision import SignalPressure
from meltguard.core.demand import Pace, ServiceLoad, demand_after, learned, total_load
from meltguard.core.heat import heat_of
from meltguard.core.limits import steps
from meltguard.core.memory import Memory
from meltguard.core.models import Rates, Speeds, speeds_after
from meltguard.core.policy import Policy, SignalKind
from meltguard.core.power import Power, power_of
from meltguard.core.pressure import assess, demand_pressure, predicted_wait
from meltguard.core.seen import Reading, Snapshot
from meltguard.core.units import NodeName, PodUid, Seconds, Share, TierName, Units, UnitsPerSecond


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the agents' counters add up to."""

    load: ServiceLoad  # of all pods that have work, Ready or not
    demand: Mapping[TierName, UnitsPerSecond]
    pace: Pace  # of all together, before it is trusted
    speeds: Speeds  # of each model for itself
    rates: Rates | None  # None: not learned
    power: Power
    backlog: Units  # that waits for a GPU, not for its tier's rate
    heat: Share
    heat_by_pod: Mapping[PodUid, Share]
    answers: bool

    @property
    def capacity(self) -> UnitsPerSecond | None:
        """What may be promised to users: no GPU that leaves, nor one of a pod that is not Ready."""
        return self.power.counts


Context = tuple[tuple[SignalPressure, ...], Seconds, AbstractSet[NodeName]]
"""Platform signals, the time since the last decision, and the nodes that are on their way home."""


def measure(policy: Policy, memory: Memory, seen: Snapshot, context: Context) -> Measured:
    """Add up what the agents counted."""
    platform, elapsed, leaving = context
    span = Seconds(steps(elapsed, policy.wait_target) * TICK)  # the averages' clock runs with the wait target too
    load = total_load(seen.heard, policy.tiers)
    guess = policy.capacity.units_per_gpu if policy.capacity else None
    heat = heat_of(policy, platform, seen, memory.heat)
    pace = learned(_pace(memory), total_load(heat.cool, policy.tiers), elapsed, guess)
    speeds = speeds_after(memory.speeds, heat.cool, seen.models, (elapsed, pace))
    rates = Rates(together=pace.trusted, speeds=speeds, models=seen.models) if pace.trusted else None
    power = power_of(seen, rates, heat, leaving)
    return Measured(
        load=load,
        demand=_demand(memory, load, power.works, span) if seen.answers else dict(memory.demand),
        pace=pace,
        speeds=speeds,
        rates=rates,
        power=power,
        backlog=_gpu_backlog(policy, memory, load),
        heat=heat.share,
        heat_by_pod=heat.by_pod,
        answers=seen.answers,
    )


def _pace(memory: Memory) -> Pace:
    return Pace(rate=memory.units_per_gpu, evidence=memory.evidence if memory.units_per_gpu else Units(0.0))


def _demand(
    memory: Memory, load: ServiceLoad, works: UnitsPerSecond | None, span: Seconds
) -> dict[TierName, UnitsPerSecond]:
    return {name: demand_after(memory.demand.get(name), offered, works, span) for name, offered in load.offered.items()}


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
    wait = predicted_wait(measured.backlog, measured.power.works)
    problem = "" if wait is not None else "no GPU is known to work on what waits"
    readings = [Reading(signal=name, value=wait, age=measured.load.age, problem=problem) for name in waits]
    own = tuple(signal for signal in assess(policy, readings) if signal.name in waits)
    total = UnitsPerSecond(sum(measured.demand.values()))
    return (*own, demand_pressure(total, measured.capacity, measured.load.age), *others)
