"""From what was measured to a shortage, and to what is taken for it."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from meltguard.core.belief import agreed_share
from meltguard.core.buying import choose_capacity
from meltguard.core.chance import NO_EXCESS, Counted, Excess
from meltguard.core.decision import Borrow, Outcome, Shortage, SignalPressure
from meltguard.core.forecast import Forecast, Trend, trend_after
from meltguard.core.limits import UTILIZATION
from meltguard.core.loading import late_nodes
from meltguard.core.loans import arriving, missing_gpus, waits_for
from meltguard.core.measure import Measured
from meltguard.core.memory import Memory
from meltguard.core.models import Rates, worth_of
from meltguard.core.plausible import Usual, usual_after
from meltguard.core.policy import Capacity, Policy
from meltguard.core.pressure import highest
from meltguard.core.providers import Want
from meltguard.core.seen import Snapshot
from meltguard.core.units import Gpus, Instant, NodeName, PoolName, Seconds, Units, UnitsPerSecond


@dataclass(frozen=True, slots=True, kw_only=True)
class LoanChoice:
    """What to claim, every rule's answer, and since when GPUs are missing."""

    taken: tuple[Borrow, ...]
    rules: tuple[Outcome, ...]
    short_since: Instant | None
    usual: Usual
    trend: Trend | None = None
    shortage: Shortage | None = None
    want: Want | None = None
    waits_for: Mapping[PoolName, bool] = field(default_factory=dict)

    @property
    def excess(self) -> Excess:
        """What was asked for beyond what serves, summed up for the next pass."""
        return self.shortage.excess if self.shortage else NO_EXCESS

    @property
    def missing(self) -> Gpus:
        """What the demand needs beyond what serves."""
        return self.shortage.missing if self.shortage else Gpus(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressed:
    """What presses, and on what."""

    signals: tuple[SignalPressure, ...]
    measured: Measured
    leaving: AbstractSet[NodeName]  # nodes on their way home
    now: Instant
    span: Seconds  # since the last decision


def borrow(policy: Policy, memory: Memory, seen: Snapshot, pressed: Pressed) -> LoanChoice:
    """The shortage now, and what is taken for it."""
    measured, now = pressed.measured, pressed.now
    if policy.capacity is None:
        return LoanChoice(taken=(), rules=(), short_since=None, usual=Usual.remembered(memory))
    top = highest(pressed.signals)
    demand = _demand(seen, measured)
    trend = trend_after(memory.trend, _unmoved(seen, measured), len(seen.heard), now) if measured.answers else None
    growth = _growth(policy.capacity, memory, trend)
    foreseen = UnitsPerSecond(demand + growth) if growth else None
    per_gpu, have = _at_hand(memory, seen, pressed)
    missing = missing_gpus(foreseen or demand, per_gpu, have)
    serves = UnitsPerSecond(UTILIZATION * per_gpu * have)
    excess = memory.excess.after(_counted(seen, measured), serves, pressed.span) if per_gpu else memory.excess
    short = Shortage(
        policy=policy,
        capacity=policy.capacity,
        seen=seen,
        memory=memory,
        signals=pressed.signals,
        pressure=top.pressure if top else None,
        demand=demand,
        busy=measured.load.busy,
        missing=missing,
        beyond=UnitsPerSecond(demand - serves),
        excess=excess,
        now=now,
        usual=_usual(measured),
        foreseen=foreseen,
    )
    choice = choose_capacity(short)
    return LoanChoice(
        taken=choice.taken,
        rules=choice.rules,
        short_since=(memory.short_since if memory.short_since is not None else now) if missing else None,
        usual=usual_after(short, pressed.span) if measured.answers else Usual.remembered(memory),
        trend=trend,
        shortage=choice.shortage,
        want=choice.want,
        waits_for=waits_for(choice.shortage, choice.taken),
    )


def _growth(capacity: Capacity, memory: Memory, trend: Trend | None) -> UnitsPerSecond:
    """What the demand gains until a node serves that is claimed now; 0 where nobody asked for that."""
    if capacity.forecast is Forecast.OFF or trend is None:
        return UnitsPerSecond(0.0)
    return trend.growth(memory.loading.usual)


def _at_hand(memory: Memory, seen: Snapshot, pressed: Pressed) -> tuple[UnitsPerSecond, float]:
    """What a GPU does that serves today, 0 while that is not known; and how many such serve or are on their way.

    What pods that are not Ready do, they do: it need not be borrowed again.
    """
    measured, power = pressed.measured, pressed.measured.power
    if not measured.answers or not power.per_gpu:
        return UnitsPerSecond(0.0), 0.0
    serving = seen.serving_nodes
    late = late_nodes(seen.loans, memory.loading, serving, pressed.now)
    usual = _usual(measured)
    coming = sum(worth_of(node, seen.gpu_kinds, usual) for node in arriving(seen, serving | late | pressed.leaving))
    doubted = sum(load.gpus for load in seen.loads if load.doubt and load.node not in pressed.leaving)
    return power.per_gpu, power.gpus + doubted + power.unready / power.per_gpu + coming + seen.on_order


def _demand(seen: Snapshot, measured: Measured) -> UnitsPerSecond:
    """As far as more than one agent tells of it."""
    return UnitsPerSecond(sum(measured.demand.values()) * agreed_share(seen.heard))


def _counted(seen: Snapshot, measured: Measured) -> Counted:
    """The same as it was counted lately: the average climbs faster than it falls, and would sum up to too much."""
    agreed, load = agreed_share(seen.heard), measured.load
    return Counted(UnitsPerSecond(sum(load.offered.values()) * agreed), load.swings * agreed)


def _unmoved(seen: Snapshot, measured: Measured) -> UnitsPerSecond:
    """The demand less all that only one agent tells of: a lie of a few large requests would be a trend."""
    return UnitsPerSecond(sum(measured.demand.values()) * agreed_share(seen.heard, Units(0.0)))


def _usual(measured: Measured) -> tuple[Rates, UnitsPerSecond] | None:
    rates, per_gpu = measured.rates, measured.power.per_gpu
    return (rates, per_gpu) if rates is not None and per_gpu else None
