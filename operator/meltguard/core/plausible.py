"""Whether a surge is one: what the platform and the GPUs say, beside the agents' demand.

A demand far off its history needs a second signal before a node moves, never a person's doubt.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Final

from meltguard.core.averages import smoothed
from meltguard.core.decision import Outcome, Shortage, SignalPressure
from meltguard.core.memory import Memory
from meltguard.core.policy import Policy, SignalUse
from meltguard.core.pressure import CALM, TARGET, platform_signals
from meltguard.core.units import Instant, Pressure, Seconds, Share, UnitsPerSecond

CONFIRMATION_HOLDS: Final = Seconds(300.0)
"""Limits may idle the GPUs that pressed a moment ago: the platform's word counts for this long."""


def confirming(policy: Policy, signals: Sequence[SignalPressure]) -> list[SignalPressure]:
    """The signals that may confirm a loan."""
    named = {signal.name for signal in policy.signals if signal.use is SignalUse.CONFIRM}
    return [signal for signal in signals if signal.name in named]


def are_used(signals: Sequence[SignalPressure]) -> bool:
    """Whether all of these are known and at least at their calm value."""
    return all(signal.pressure is not None and signal.pressure >= CALM for signal in signals)


def platform_confirms(short: Shortage) -> Outcome:
    """The agents' word alone moves no node: fresh platform signals must say that the GPUs are, or just were, used."""
    signals = confirming(short.policy, short.signals)
    unknown = [signal for signal in signals if signal.pressure is None]
    said = ", ".join(f"{signal.name} {signal.value or 0:.0f} {signal.unit}" for signal in signals)
    if not signals:
        return Outcome(rule="platform confirms", holds=True, text="no signal is asked to confirm loans")
    if unknown:
        text = f"{unknown[0].name} is unknown ({unknown[0].problem}); check the metric source"
        return Outcome(rule="platform confirms", holds=False, text=text)
    if are_used(signals):
        return Outcome(rule="platform confirms", holds=True, text=said)
    ago = math.inf if short.memory.confirmed_at is None else short.now - short.memory.confirmed_at
    if ago <= CONFIRMATION_HOLDS:
        return Outcome(rule="platform confirms", holds=True, text=f"{said}; above calm {ago:.0f} s ago")
    return Outcome(rule="platform confirms", holds=False, text=f"{said}, below calm: the GPUs are not used")


FAR: Final = 2.0
"""A demand of more than this many times the usual is a jump."""

FULL: Final = Share(0.9)
"""GPUs that work for this share of the time are full: what is offered beyond must be more than they do."""

RISE: Final = 0.2
"""A platform signal's pressure so far above its usual one rose with the demand; one that always stands high did not."""

GAINS: Final = (0.0058, 0.00004)
"""Of the usual, per TICK: half way up in ten minutes, half forgotten in a day, so that a day's peak is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What is known of an ordinary day, and when something far off it was last confirmed."""

    demand: UnitsPerSecond | None
    pressure: Mapping[str, Pressure]
    surge_at: Instant | None

    @classmethod
    def remembered(cls, memory: Memory) -> "Usual":
        """As the last pass left it."""
        return cls(demand=memory.usual, pressure=memory.usual_pressure, surge_at=memory.surge_at)


def surge_is_plausible(short: Shortage) -> Outcome:
    """Agents that lie, or count wrongly, move no node: with what is far off history something else must have risen."""
    rule, usual = "surge is plausible", short.memory.usual
    if not is_jump(short):
        return Outcome(rule=rule, holds=True, text=f"demand {short.demand:.2f} a second, {usual or 0:.2f} is usual")
    known = "nothing is known of what is usual" if usual is None else f"{usual:.2f} is usual"
    jump = f"demand {short.demand:.2f} a second, {known}"
    if second := second_signal(short) or _held_by_limits(short):
        return Outcome(rule=rule, holds=True, text=f"{jump}; {second}")
    text = f"{jump}, but the GPUs work for {short.busy:.0%} of the time and no metric of them rose"
    return Outcome(rule=rule, holds=False, text=f"{text}; look at what the agents report")


def is_jump(short: Shortage) -> bool:
    """Whether the demand is far off its history; without a history any demand is."""
    usual = short.memory.usual
    return usual is None or short.demand > FAR * usual


def second_signal(short: Shortage) -> str:
    """What else says that the GPUs are needed, in words; "" where nothing does."""
    return _full_pods(short) or _risen(short)


def _full_pods(short: Shortage) -> str:
    """Most pods' GPUs are full; each tells that for itself, and the demand is what more than one of them tells of.

    A pod that is not Ready may be so for its full GPUs. One pod alone has nobody beside it: then the platform must
    tell, and only where the policy names no metric of it do the pod's own full GPUs and its queue suffice.
    """
    pods = short.seen.heard
    said = f"GPUs work for {short.busy:.0%} of the time"
    if not pods or median_low(load.busy for load in pods) < FULL:
        return ""
    if len(pods) > 1:
        return said
    alone = not platform_signals(short.policy, short.signals) and pods[0].waiting > 0
    return f"{said}, requests wait, and no metric of the platform is named" if alone else ""


def _risen(short: Shortage) -> str:
    """A metric of the platform that is above its usual; where no usual is known, above its target."""
    for signal in platform_signals(short.policy, short.signals):
        usual = short.memory.usual_pressure.get(signal.name)
        least = TARGET if usual is None else max(CALM, usual + RISE)
        if signal.pressure is not None and signal.pressure >= least:
            return f"{signal.name} is at {signal.value or 0:.0f} {signal.unit}".rstrip()
    return ""


def _held_by_limits(short: Shortage) -> str:
    """Limits idle the GPUs that a surge filled: while they do, its confirmation lasts for a while."""
    at = short.memory.surge_at
    limited = any(held.cause for held in short.memory.limits.values())
    if at is None or not limited or short.now - at > CONFIRMATION_HOLDS:
        return ""
    return f"confirmed {short.now - at:.0f} s ago, before limits held it"


def usual_after(short: Shortage, span: Seconds) -> Usual:
    """The usual after `span`; a surge that nothing else confirms is no history."""
    before = Usual.remembered(short.memory)
    jump = bool(short.missing) and is_jump(short)
    confirmed = bool(second_signal(short))
    if jump and not confirmed and not _held_by_limits(short):
        return before
    return Usual(
        demand=UnitsPerSecond(smoothed(before.demand, short.demand, GAINS, span)),
        pressure={
            signal.name: _pressure_after(before.pressure.get(signal.name), signal, span)
            for signal in platform_signals(short.policy, short.signals)
            if signal.pressure is not None or signal.name in before.pressure
        },
        surge_at=short.now if jump and confirmed else before.surge_at,
    )


def _pressure_after(before: Pressure | None, signal: SignalPressure, span: Seconds) -> Pressure:
    """What is unknown now leaves the usual as it is."""
    if signal.pressure is None:
        return before or Pressure(0.0)
    return Pressure(smoothed(before, signal.pressure, GAINS, span))
