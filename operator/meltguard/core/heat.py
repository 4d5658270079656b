"""How much less hot GPUs are trusted with: a slowed clock still looks busy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meltguard.core.decision import SignalPressure
from meltguard.core.load import PodLoad
from meltguard.core.policy import Policy, Signal, SignalKind
from meltguard.core.pressure import CRITICAL, TARGET, scaled
from meltguard.core.seen import Reading, Snapshot
from meltguard.core.units import NodeName, PodUid, Pressure, Share

HEAT_DERATING = 0.5
"""At its critical temperature a node's GPUs are trusted with this much less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """What heat leaves of the service's GPUs."""

    share: Share  # of all their work; 1 is cool
    by_pod: Mapping[PodUid, Share]  # of one pod's GPUs
    cool: tuple[PodLoad, ...]  # the pods that say what a GPU at full clocks does


def derated(pressure: Pressure) -> Share:
    """1 up to the target temperature, falling to a half at the critical one.

    >>> [derated(Pressure(p)) for p in (0.7, 1.0, 1.25, 1.5, 3.0)]
    [1.0, 1.0, 0.75, 0.5, 0.5]
    """
    over = min(1.0, max(0.0, (pressure - TARGET) / (CRITICAL - TARGET)))
    return Share(1.0 - HEAT_DERATING * over)


def heat_of(policy: Policy, platform: tuple[SignalPressure, ...], seen: Snapshot, before: Share) -> Heat:
    """What heat leaves now; where the temperature is unknown, what it last left."""
    fresh = {signal.name for signal in platform if signal.pressure is not None}
    signals = [one for one in policy.signals if one.kind is SignalKind.GPU_TEMPERATURE and one.name in fresh]
    readings = {reading.signal: reading for reading in seen.readings}
    known = [(signal, readings[signal.name]) for signal in signals]
    if not known:
        return Heat(share=before, by_pod={load.pod: before for load in seen.loads}, cool=seen.loads)
    shares = [(load, _node_share(known, load.node)) for load in seen.loads]
    gpus = sum(load.gpus for load in seen.loads)
    share = sum(load.gpus * part for load, part in shares) / gpus if gpus else _node_share(known, None)
    return Heat(
        share=Share(share),
        by_pod={load.pod: part for load, part in shares},
        cool=tuple(load for load, part in shares if part == 1.0),
    )


def _node_share(known: Sequence[tuple[Signal, Reading]], node: NodeName | None) -> Share:
    """By the node's own hottest GPU; by the service's where the node is not told apart."""
    values = [
        (signal, reading.by_node.get(node, reading.value) if node else reading.value) for signal, reading in known
    ]
    return min(derated(scaled(value, signal)) for signal, value in values if value is not None)
