"""What agents count, and the rates that two readings of one agent give."""

from collections.abc import Mapping
from dataclasses import dataclass

from meltguard.core.units import Gpus, NodeName, PodUid, Revision, Seconds, Share, TierName, Units, UnitsPerSecond


@dataclass(frozen=True, slots=True, kw_only=True)
class TierCounters:
    """One tier at one pod: sums since its agent started, and what waits now."""

    offered: Units
    admitted: Units
    waiting: Units
    refused: int
    wait_p99: Seconds
    for_gpu: Units | None = None  # of `waiting`: held back by busy GPUs alone, not by the tier's rate; None: not said
    rate: UnitsPerSecond | None = None  # that holds the tier back now


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCounters:
    """One agent's answer."""

    pod: PodUid
    instance: str  # counters restart with it
    sequence: int
    uptime: Seconds
    leased: bool  # enforces a live lease
    epoch: int
    revision: Revision
    gpus: Gpus
    busy: Seconds  # GPU-seconds spent so far
    done: Units
    in_flight: Units
    quota_store: str
    tiers: Mapping[TierName, TierCounters]


@dataclass(frozen=True, slots=True, kw_only=True)
class TierLoad:
    """One tier at one pod over the last interval."""

    offered: UnitsPerSecond
    admitted: UnitsPerSecond
    waiting: Units
    wait_p99: Seconds
    for_gpu: Units | None = None  # as in TierCounters
    rate: UnitsPerSecond | None = None  # as in TierCounters


@dataclass(frozen=True, slots=True, kw_only=True)
class PodLoad:
    """One pod over the last interval. Rates are None-free: a pod without two readings has none of this."""

    pod: PodUid
    node: NodeName
    gpus: Gpus
    age: Seconds  # since the newer reading
    span: Seconds  # between the two readings
    busy: Share
    done: UnitsPerSecond
    in_flight: Units
    tiers: Mapping[TierName, TierLoad]

    @property
    def at_work(self) -> bool:
        """Whether it has anything to do with requests: a pod that starts has none, nor one that nobody is sent to."""
        return self.busy > 0 or self.waiting > 0 or any(tier.offered > 0 for tier in self.tiers.values())

    @property
    def waiting(self) -> Units:
        """Units of all tiers in this pod's queue."""
        return Units(sum(tier.waiting for tier in self.tiers.values()))


def load_between(node: NodeName, before: AgentCounters, after: AgentCounters, age: Seconds) -> PodLoad | None:
    """The rates between two readings of one agent; None where they cannot be compared.

    A restarted agent (another instance) counts from zero: comparing across it would give negative or huge rates.
    """
    span = Seconds(after.uptime - before.uptime)
    if after.instance != before.instance or after.pod != before.pod or span <= 0:
        return None
    gpus = max(after.gpus, 1)
    return PodLoad(
        pod=after.pod,
        node=node,
        gpus=Gpus(gpus),
        age=age,
        span=span,
        busy=Share(min(1.0, max(0.0, after.busy - before.busy) / (span * gpus))),
        done=UnitsPerSecond(max(0.0, after.done - before.done) / span),
        in_flight=after.in_flight,
        tiers={name: _tier_load(before.tiers.get(name), tier, span) for name, tier in after.tiers.items()},
    )


def _tier_load(before: TierCounters | None, after: TierCounters, span: Seconds) -> TierLoad:
    offered_before = before.offered if before else 0.0
    admitted_before = before.admitted if before else 0.0
    return TierLoad(
        offered=UnitsPerSecond(max(0.0, after.offered - offered_before) / span),
        admitted=UnitsPerSecond(max(0.0, after.admitted - admitted_before) / span),
        waiting=after.waiting,
        wait_p99=after.wait_p99,
        for_gpu=after.for_gpu,
        rate=after.rate,
    )
