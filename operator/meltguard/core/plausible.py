"""Whether a surge is one: what the platform and the GPUs say, beside the agents' demand.

A demand far off its history needs a second signal before a node moves, never a person's doubt.
"""

import math
from collections.abc import Sequence
from typing import Final

from meltguard.core.decision import Outcome, Shortage, SignalPressure
from meltguard.core.demand import smoothed
from meltguard.core.policy import Policy, SignalKind, SignalUse
from meltguard.core.pressure import CALM
from meltguard.core.units import Seconds, Share, UnitsPerSecond

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

BUSY: Final = Share(0.7)
"""GPUs that work for this share of the time say that a surge is real."""

GAINS: Final = (0.0058, 0.00004)
"""Of the usual demand, per TICK: half way up in ten minutes, half forgotten in a day, so that a day's peak is known."""


def surge_is_plausible(short: Shortage) -> Outcome:
    """Agents that lie, or count wrongly, move no node: of what is far off history the GPUs must know too."""
    rule, usual = "surge is plausible", short.memory.usual
    if not is_jump(short):
        return Outcome(rule=rule, holds=True, text=f"demand {short.demand:.2f} a second, {usual or 0:.2f} is usual")
    known = "nothing is known of what is usual" if usual is None else f"{usual:.2f} is usual"
    jump = f"demand {short.demand:.2f} a second, {known}"
    if second := second_signal(short):
        return Outcome(rule=rule, holds=True, text=f"{jump}; {second}")
    text = f"{jump}, but the GPUs work for {short.busy:.0%} of the time and no metric of them presses"
    return Outcome(rule=rule, holds=False, text=f"{text}; look at what the agents report")


def is_jump(short: Shortage) -> bool:
    """Whether the demand is far off its history; without a history any demand is."""
    usual = short.memory.usual
    return usual is None or short.demand > FAR * usual


def second_signal(short: Shortage) -> str:
    """What else says that the GPUs are needed, in words; "" where nothing does."""
    if short.busy >= BUSY:
        return f"GPUs work for {short.busy:.0%} of the time"
    if confirming(short.policy, short.signals) and platform_confirms(short).holds:
        return "the platform confirms it"
    agents = {signal.name for signal in short.policy.signals if signal.kind is SignalKind.AGENT_WAIT}
    platform = {signal.name for signal in short.policy.signals} - agents
    pressing = (one for one in short.signals if one.name in platform and (one.pressure or 0.0) >= CALM)
    return next((f"{one.name} is at {one.value or 0:.0f} {one.unit}".rstrip() for one in pressing), "")


def usual_after(short: Shortage, span: Seconds) -> UnitsPerSecond | None:
    """The usual demand after `span`; a surge that nothing else confirms is no history."""
    usual = short.memory.usual
    if short.missing and is_jump(short) and not second_signal(short):
        return usual
    return UnitsPerSecond(smoothed(usual, short.demand, GAINS, span))
