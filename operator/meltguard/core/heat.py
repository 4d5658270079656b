"""How much less hot or slowed GPUs are trusted with: a slowed clock still looks busy."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from meltguard.core.decision import SignalPressure
from meltguard.core.load import PodLoad
from meltguard.core.policy import Policy, Signal, SignalKind
from meltguard.core.pressure import CRITICAL, TARGET, scaled
from meltguard.core.seen import GpuClock, Reading, Snapshot
from meltguard.core.units import NodeName, PodUid, Pressure, Share

HEAT_DERATING = 0.5
"""At its critical temperature a node's GPUs are trusted with this much less."""

AT_WORK: Final = Share(0.8)
"""Busy at least so much, a GPU holds its working clock."""

PEERS: Final = 3
"""Nodes of one GPU model at work, below which none of them is taken as usual."""

JITTER: Final = 0.97
"""Of the usual clock; from here on a card just boosts a little less."""

IDLE: Final = 0.45
"""Of the usual clock; no card at work runs below, so that such a sample was taken between two images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """What heat leaves of the service's GPUs."""

    share: Share  # of all their work; 1 is cool
    by_pod: Mapping[PodUid, Share]  # of one pod's GPUs, by heat alone: its agent sees a slowed clock in its pace
    left: Mapping[PodUid, Share]  # of one pod's GPUs, by heat and clocks
    cool: tuple[PodLoad, ...]  # the pods that say what a GPU at full clocks does


def derated(pressure: Pressure) -> Share:
    """1 up to the target temperature, falling to a half at the critical one.

    >>> [derated(Pressure(p)) for p in (0.7, 1.0, 1.25, 1.5, 3.0)]
    [1.0, 1.0, 0.75, 0.5, 0.5]
    """
    over = min(1.0, max(0.0, (pressure - TARGET) / (CRITICAL - TARGET)))
    return Share(1.0 - HEAT_DERATING * over)


def heat_of(policy: Policy, platform: tuple[SignalPressure, ...], seen: Snapshot, before: Share) -> Heat:
    """What heat and slowed clocks leave now; where the temperature is unknown, what they last left."""
    fresh = {signal.name for signal in platform if signal.pressure is not None}
    signals = [one for one in policy.signals if one.kind is SignalKind.GPU_TEMPERATURE and one.name in fresh]
    readings = {reading.signal: reading for reading in seen.readings}
    known = [(signal, readings[signal.name]) for signal in signals]
    if not known:
        same = {load.pod: before for load in seen.loads}
        return Heat(share=before, by_pod=same, left=same, cool=seen.loads)
    slowed = clock_shares(seen)
    heats = {load.pod: _node_share(known, load.node) for load in seen.loads}
    shares = [(load, Share(min(heats[load.pod], slowed.get(load.node, 1.0)))) for load in seen.loads]
    gpus = sum(load.gpus for load in seen.loads)
    share = sum(load.gpus * part for load, part in shares) / gpus if gpus else _node_share(known, None)
    return Heat(
        share=Share(share),
        by_pod=heats,
        left={load.pod: part for load, part in shares},
        cool=tuple(load for load, part in shares if part == 1.0),
    )


def clock_shares(seen: Snapshot) -> Mapping[NodeName, Share]:
    """Nodes at work whose slowest GPU runs below the median of its model's, and its share of that median.

    A card may be slowed by heat, power or a fault; all say so in its clock only. Where most of a model's are slowed,
    the median is too, and nothing shows here: then the temperature and the measured waits must tell.
    """
    busy = {load.node for load in seen.loads if load.busy >= AT_WORK}
    by_model: defaultdict[str, list[GpuClock]] = defaultdict(list)
    for clock in seen.clocks:
        if clock.node in busy and clock.value > 0:
            by_model[clock.model].append(clock)
    found: dict[NodeName, Share] = {}
    for clocks in by_model.values():
        if len({clock.node for clock in clocks}) < PEERS:
            continue
        usual = median(clock.value for clock in clocks)
        for clock in clocks:
            share = clock.value / usual
            if IDLE <= share < JITTER:
                found[clock.node] = Share(min(share, found.get(clock.node, 1.0)))
    return found


def _node_share(known: Sequence[tuple[Signal, Reading]], node: NodeName | None) -> Share:
    """By the node's own hottest GPU; by the service's where the node is not told apart."""
    values = [
        (signal, reading.by_node.get(node, reading.value) if node else reading.value) for signal, reading in known
    ]
    return min(derated(scaled(value, signal)) for signal, value in values if value is not None)
