"""Signals to pressure: linear through calm 0.7, target 1.0, critical 1.5."""

from collections.abc import Sequence

from meltguard.core.decision import SignalPressure
from meltguard.core.policy import Policy, Signal, SignalKind, SignalUse
from meltguard.core.seen import Reading
from meltguard.core.units import Pressure, Seconds, Units, UnitsPerSecond

CALM, TARGET, CRITICAL = 0.7, 1.0, 1.5
MOST = 3.0
"""Beyond this a larger pressure says nothing more."""

DEMAND_SIGNAL = "demand"
"""Offered image units over what the GPUs can do: 1.0 is exactly full. Always there, from the agents.

Offered, not admitted: limits that hold demand back never hide it, so a level ends when the surge does.
"""

UNITS = {
    SignalKind.AGENT_WAIT: "s",
    SignalKind.GPU_TEMPERATURE: "C",
    SignalKind.GPU_UTILIZATION: "%",
    SignalKind.GPU_POWER: "W",
    SignalKind.GPU_CLOCK: "",
    SignalKind.GPU_XID: "",
    SignalKind.QUERY: "",
}


def scaled(value: float, signal: Signal) -> Pressure:
    """Where a value stands on its signal's scale.

    >>> wait = Signal(name="w", kind=SignalKind.AGENT_WAIT, use=SignalUse.DRIVE, calm=1, target=4, critical=12)
    >>> [round(scaled(v, wait), 2) for v in (0, 1, 2.5, 4, 8, 12)]
    [0.0, 0.7, 0.85, 1.0, 1.25, 1.5]
    """
    if value <= signal.calm:
        share = value / signal.calm if signal.calm > 0 else 1.0
        return Pressure(max(0.0, CALM * share))
    if value <= signal.target:
        return Pressure(CALM + (TARGET - CALM) * (value - signal.calm) / (signal.target - signal.calm))
    slope = (CRITICAL - TARGET) / (signal.critical - signal.target)
    return Pressure(min(MOST, TARGET + slope * (value - signal.target)))


def predicted_wait(backlog: Units, capacity: UnitsPerSecond | None) -> float | None:
    """Seconds until the backlog is done; None where capacity is not known and something waits."""
    if backlog <= 0:
        return 0.0
    return backlog / capacity if capacity else None


def assess(policy: Policy, readings: Sequence[Reading]) -> tuple[SignalPressure, ...]:
    """Every signal of the policy with its pressure; one without a fresh reading is unknown, never zero."""
    by_name = {reading.signal: reading for reading in readings}
    return tuple(_assess_one(signal, by_name.get(signal.name), policy.stale_after) for signal in policy.signals)


def _assess_one(signal: Signal, reading: Reading | None, stale_after: Seconds) -> SignalPressure:
    age = reading.age if reading else Seconds(0.0)
    problem = _problem(reading, stale_after)
    known = reading.value if reading and not problem else None
    return SignalPressure(
        name=signal.name,
        value=known,
        unit=UNITS[signal.kind],
        age=age,
        pressure=None if known is None else scaled(known, signal),
        drives=signal.use is SignalUse.DRIVE,
        problem=problem,
    )


def _problem(reading: Reading | None, stale_after: Seconds) -> str:
    if reading is None:
        return "nothing read yet"
    if reading.value is None:
        return reading.problem or "no value"
    if reading.age > stale_after:
        return f"stale: measured {reading.age:.0f} s ago, at most {stale_after:.0f} s are trusted"
    return ""


def platform_signals(policy: Policy, signals: Sequence[SignalPressure]) -> tuple[SignalPressure, ...]:
    """Those of the policy's signals that no agent tells."""
    platform = {signal.name for signal in policy.signals if signal.kind is not SignalKind.AGENT_WAIT}
    return tuple(signal for signal in signals if signal.name in platform)


def demand_pressure(demand: UnitsPerSecond, capacity: UnitsPerSecond | None, age: Seconds) -> SignalPressure:
    """How much is asked of the GPUs, as a share of what they can do."""
    ratio = None if capacity is None else _ratio(demand, capacity)
    return SignalPressure(
        name=DEMAND_SIGNAL,
        value=ratio,
        unit="of capacity",
        age=age,
        pressure=None if ratio is None else Pressure(min(MOST, ratio)),
        drives=True,
        problem="" if ratio is not None else "capacity is not learned yet",
    )


def _ratio(demand: UnitsPerSecond, capacity: UnitsPerSecond) -> float:
    """Where nothing is left to serve it, any demand is too much."""
    return demand / capacity if capacity else (MOST if demand > 0 else 0.0)


def highest(signals: Sequence[SignalPressure]) -> SignalPressure | None:
    """The driving signal that presses most; None where none is known."""
    known = [s for s in signals if s.drives and s.pressure is not None]
    return max(known, key=lambda s: s.pressure or 0.0, default=None)
