"""The one door into the core: decide(policy, memory, seen, now) -> Decision."""

from dataclasses import dataclass, replace

from meltguard.core import limits as law
from meltguard.core.adoption import adopted, is_learning
from meltguard.core.belief import doubts_in_words, weighed
from meltguard.core.borrowing import LoanChoice, Pressed, borrow
from meltguard.core.calm import kept_by, spare_since
from meltguard.core.decision import Decision, FeatureShare, SignalPressure, TierLimit
from meltguard.core.explain import LEARNING, Measures, next_change, one_line
from meltguard.core.features import feature_shares
from meltguard.core.level import LevelNow, LevelState, Pressing, level_now, next_level, paused_level
from meltguard.core.loading import loading_after
from meltguard.core.measure import Measured, all_signals, measure
from meltguard.core.memory import Memory
from meltguard.core.overrides import active_overrides
from meltguard.core.plausible import are_used, confirming
from meltguard.core.policy import Level, Mode, Policy, TierState
from meltguard.core.pressure import DEMAND_SIGNAL, assess, highest, predicted_wait
from meltguard.core.replicas import OnLoan, replicas
from meltguard.core.rest import noted
from meltguard.core.returns import Ebb, Returns, breach_since, going_home, returns
from meltguard.core.rollout import down_since, rollouts
from meltguard.core.seen import Snapshot
from meltguard.core.tiers import Law, Limited, limit_tiers
from meltguard.core.units import Gpus, Instant, NodeName, Pressure, Seconds, UnitsPerSecond

LONGEST_SPAN = Seconds(10.0)
"""A longer pause between two decisions counts as this much: after it nothing may jump."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What one pass has worked out, before it is put together."""

    signals: tuple[SignalPressure, ...]
    top: SignalPressure | None  # the driving signal that presses most
    measured: Measured
    level: LevelNow
    spendable: UnitsPerSecond | None
    tiers: tuple[TierLimit, ...]
    features: tuple[FeatureShare, ...]
    loans: LoanChoice
    ebb: Ebb
    spare: Instant | None
    leaving: frozenset[NodeName]  # on their way home
    memory: Memory  # with what this pass made of limits, trim and features


def decide(policy: Policy, memory: Memory, seen: Snapshot, now: Instant) -> Decision:
    """One pass over one service: level, limits, loans, returns, and the words for all of them. Pure.

    Who goes home is decided on what serves now; limits, and what is borrowed, on what stays then.
    """
    learning = is_learning(memory, seen, now)
    memory = memory if learning else adopted(policy, memory, seen, now)
    parts = _parts(policy, memory, seen, (going_home(seen), now))
    ways = returns(parts.ebb, parts.spare)
    leaving = parts.leaving | ways.homeward
    if leaving != parts.leaving:
        parts = replace(_parts(policy, memory, seen, (leaving, now)), ebb=parts.ebb, spare=parts.spare)
    return _concluded(parts, ways, learning=learning)


def _parts(policy: Policy, memory: Memory, seen: Snapshot, given: tuple[frozenset[NodeName], Instant]) -> Parts:
    """What follows where these nodes do not count any more; `given` is (nodes on their way home, now)."""
    leaving, now = given
    span = _span(memory, now)
    platform = assess(policy, seen.readings)
    seen = weighed(policy, seen, platform, memory.units_per_gpu)
    measured = measure(policy, memory, seen, (platform, span, leaving))
    signals = all_signals(policy, platform, measured)
    acute = highest([signal for signal in signals if signal.name != DEMAND_SIGNAL])
    pressing = Pressing(
        most=_pressure(highest(signals)),
        acute=_pressure(acute),
        unknown=tuple(signal.name for signal in signals if signal.drives and signal.pressure is None),
        heard=measured.answers,
    )
    level = _level(policy, memory, pressing, now)
    spendable = _budget(measured, memory.trim, policy)
    limited = limit_tiers(policy, level, _law(measured, spendable, span, now), memory.limits)
    pressed = Pressed(signals=signals, measured=measured, leaving=leaving, now=now, span=span)
    loans = borrow(policy, memory, seen, pressed)
    features, slowed = feature_shares(policy, level, memory.slowed, now)
    ebb = _ebb(policy, memory, (seen, signals), (measured, level.level, limited.limits, (loans.missing, now)))
    return Parts(
        signals=signals,
        top=highest(signals),
        measured=measured,
        level=level,
        spendable=spendable,
        tiers=limited.limits,
        features=features,
        loans=loans,
        ebb=ebb,
        spare=spare_since(ebb),
        leaving=leaving,
        memory=replace(
            memory, trim=_trim(policy, memory, (measured, limited), span), limits=limited.held, slowed=slowed
        ),
    )


def _concluded(parts: Parts, ways: Returns, *, learning: bool) -> Decision:
    policy, seen, level, top, now = parts.ebb.policy, parts.ebb.seen, parts.level, parts.top, parts.ebb.now
    memory = replace(parts.memory, limits=parts.ebb.memory.limits) if learning else parts.memory
    on_loan = OnLoan(nodes=seen.loans, asked=seen.gpu_kinds, tightened=seen.tightened, now=now)
    pods = replicas(policy, memory, on_loan, seen.workload)
    left = _left(parts, memory, ways, now)
    updates = rollouts(policy, level, seen, left.down_since, now)
    words = active_overrides(policy, now)
    measures = Measures(features=parts.features, rollouts=updates, tiers=parts.tiers, overrides=words)
    remembered = pods.remembered(left)
    return Decision(
        at=now,
        level=level.level,
        level_since=level.since,
        pressure=top.pressure if top else None,
        signals=parts.signals,
        capacity=parts.measured.capacity,
        budget=parts.spendable,
        limits=parts.tiers,
        features=parts.features,
        overrides=words,
        rollouts=updates,
        borrow=parts.loans.taken,
        intents=ways.intents,
        replicas=pods.change,
        rules=parts.loans.rules,
        why=LEARNING if learning else one_line(policy, (level, top), measures, seen),
        next_change=next_change(
            policy, level, parts.tiers, (parts.loans.rules, (parts.spare, kept_by(parts.ebb)), seen.plan), now
        ),
        memory=replace(remembered, decided_at=None) if learning else remembered,
        level_lifts=level.lifts_when,
        shortage=parts.loans.shortage,
        want=parts.loans.want,
        waits_for=parts.loans.waits_for,
        heat=parts.measured.heat_by_pod,
        leaving=parts.leaving,
        learning=learning,
        doubts=doubts_in_words(seen),
    )


def _left(parts: Parts, memory: Memory, ways: Returns, now: Instant) -> Memory:
    """What this pass leaves for the next, but for the replicas."""
    seen = parts.ebb.seen
    return replace(
        _remembered(memory, parts.measured, parts.level, now),
        confirmed_at=now if are_used(confirming(parts.ebb.policy, parts.signals)) else memory.confirmed_at,
        short_since=parts.loans.short_since,
        excess=parts.loans.excess,
        trend=parts.loans.trend,
        usual=parts.loans.usual.demand,
        usual_pressure=parts.loans.usual.pressure,
        surge_at=parts.loans.usual.surge_at,
        spare_since=parts.spare,
        breach_since=parts.ebb.breach_since,
        recalled=noted(memory, ways.recalling, now),
        down_since=down_since(memory.down_since, seen, now),
        loading=loading_after(memory.loading, seen.started, {load.pod for load in seen.loads}, now),
        returned_at=memory.returned_at if ways.calm is None else now,
        yielded=ways.yielded or memory.yielded,
    )


def _remembered(memory: Memory, measured: Measured, level: LevelNow, now: Instant) -> Memory:
    law = level.law
    return replace(
        memory,
        level=law.level,
        level_since=law.since,
        in_force=None if (level.level, level.since) == (law.level, law.since) else (level.level, level.since),
        risen=law.risen,
        calm_since=law.calm_since,
        unknown_since=law.unknown_since,
        decided_at=now,
        agents_at=now if measured.answers else memory.agents_at,
        units_per_gpu=measured.pace.rate,
        evidence=measured.pace.evidence,
        speeds=measured.speeds,
        heat=measured.heat,
        demand=measured.demand,
    )


def _span(memory: Memory, now: Instant) -> Seconds:
    if memory.decided_at is None:
        return Seconds(0.0)
    return Seconds(min(LONGEST_SPAN, max(0.0, now - memory.decided_at)))


def _pressure(signal: SignalPressure | None) -> Pressure | None:
    return signal.pressure if signal is not None else None


def _level(policy: Policy, memory: Memory, pressing: Pressing, now: Instant) -> LevelNow:
    """The level in force. The law's goes on below a person's, so that it holds at once when that ends."""
    law_since = memory.level_since if memory.level_since > 0 else now
    law = LevelState(
        level=memory.level,
        since=law_since,
        risen=memory.risen,
        calm_since=memory.calm_since,
        unknown_since=memory.unknown_since,
    )
    if policy.mode is Mode.PAUSED:
        law = paused_level(law, pressing, now)
    else:
        law = next_level(law, pressing, policy.dwell, now)
    forcing = [override for override in active_overrides(policy, now) if override.level is not None]
    forced = max(forcing, key=lambda override: override.level or Level.NORMAL, default=None)
    found = level_now(policy, law, pressing, forced, now)
    was, since = memory.in_force or (memory.level, law_since)
    return replace(found, since=since if found.level is was else now)


def _trim(policy: Policy, memory: Memory, found: tuple[Measured, Limited], span: Seconds) -> float:
    measured, limited = found
    wait = predicted_wait(measured.backlog, measured.power.works)
    if wait is None or not measured.answers or policy.mode is Mode.PAUSED:
        return memory.trim
    count = law.steps(span, policy.wait_target)
    if not limited.is_lawful:
        return law.forgotten(memory.trim, count)
    return law.trimmed(memory.trim, (wait, policy.wait_target), (limited.keeps_out, measured.power.busy), count)


def _budget(measured: Measured, trim: float, policy: Policy) -> UnitsPerSecond | None:
    if not measured.capacity:  # where nothing stays, what was promised holds: it is never nothing
        return None
    return law.budget(measured.capacity, trim, measured.backlog, policy.wait_target)


def _law(measured: Measured, spendable: UnitsPerSecond | None, span: Seconds, now: Instant) -> Law:
    return Law(
        budget=spendable,
        capacity=measured.capacity,
        load=measured.load,
        backlog=measured.backlog,
        demand=measured.demand,
        span=span,
        now=now,
        works=measured.power.works,
        busy=measured.power.busy,
        leaves=measured.power.leaves,
    )


def _ebb(
    policy: Policy,
    memory: Memory,
    sights: tuple[Snapshot, tuple[SignalPressure, ...]],
    context: tuple[Measured, Level, tuple[TierLimit, ...], tuple[Gpus, Instant]],
) -> Ebb:
    (seen, signals), (measured, level, tiers, (missing, now)) = sights, context
    return Ebb(
        policy=policy,
        seen=seen,
        signals=signals,
        memory=memory,
        level=level,
        limited=any(limit.state is not TierState.OPEN for limit in tiers),
        demand=UnitsPerSecond(sum(measured.demand.values())) if measured.answers else None,
        capacity=measured.capacity,
        by_node=measured.power.by_node,
        rates=measured.rates,
        missing=missing,
        now=now,
        breach_since=breach_since(seen, memory, now),
    )
