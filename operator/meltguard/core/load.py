"""What agents count, and the rates that two readings of one agent give."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meltguard.core.units import Gpus, NodeName, PodUid, Revision, Seconds, Share, TierName, Units, UnitsPerSecond

NO_TIME: Final = Seconds(0.0)
NOTHING: Final = Units(0.0)
A_UNIT: Final = Units(1.0)
"""An image of a megapixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierCounters:
    """One tier at one pod: sums since its agent started, and what waits now."""

    offered: Units
    admitted: Units
    waiting: Units
    refused: int
    squares: float = 0.0  # of what each request offered, summed up; 0: not told
    wait_p99: Seconds
    barred: Units = NOTHING  # of `offered`: refused for what no GPU would mend
    for_gpu: Units | None = None  # of `waiting`: held back by busy GPUs alone, not by the tier's rate; None: not said
    rate: UnitsPerSecond | None = None  # that holds the tier back now

    @property
    def wanted(self) -> Units:
        """What GPUs were asked for. It may fall for a moment: a request comes before it is refused."""
        return Units(self.offered - self.barred)


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
    size: Units = A_UNIT  # of the request that a unit came in, on average; one where it is not told
    for_gpu: Units | None = None  # as in TierCounters
    rate: UnitsPerSecond | None = None  # as in TierCounters

    @property
    def swings(self) -> float:
        """The variance that a second adds, in image units squared, if requests come by chance (a Poisson process).

        The sum of their sizes squared, taken for no less than of single units.
        """
        return self.offered * max(self.size, A_UNIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one agent counted over the last minute, as far back as it is known."""

    span: Seconds
    offered: Units
    done: Units
    busy: Seconds  # GPU-seconds


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
    name: str = ""  # namespace/name, for people
    still: Seconds = NO_TIME  # for so long none of its counters has grown
    minute: Told | None = None  # None: only the last interval is known
    doubt: str = ""  # why it is not believed; "" where it is

    @property
    def at_work(self) -> bool:
        """Whether it has anything to do with requests: a pod that starts has none, nor one that nobody is sent to."""
        return self.busy > 0 or self.waiting > 0 or any(tier.offered > 0 for tier in self.tiers.values())

    @property
    def waiting(self) -> Units:
        """Units of all tiers in this pod's queue."""
        return Units(sum(tier.waiting for tier in self.tiers.values()))

    @property
    def told(self) -> Told:
        """What it counted over the longest time that is known."""
        if self.minute is not None:
            return self.minute
        offered = sum(tier.offered for tier in self.tiers.values()) * self.span
        busy = Seconds(self.busy * self.gpus * self.span)
        return Told(span=self.span, offered=Units(offered), done=Units(self.done * self.span), busy=busy)


def load_between(node: NodeName, before: AgentCounters, after: AgentCounters, age: Seconds) -> PodLoad | None:
    """The rates between two readings of one agent; None where they cannot be compared.

    A restarted agent (another instance) counts from zero: comparing across it would give negative or huge rates. So
    does one whose counters fell: what it counted meanwhile is unknown, not zero.
    """
    span = Seconds(after.uptime - before.uptime)
    if after.instance != before.instance or after.pod != before.pod or span <= 0 or fell(before, after):
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


def fell(before: AgentCounters, after: AgentCounters) -> bool:
    """Whether a counter of the later reading stands below the earlier one's: it was set back."""
    if after.busy < before.busy or after.done < before.done:
        return True
    both = ((tier, after.tiers.get(name)) for name, tier in before.tiers.items())
    return any(now is None or _stands_below(now, tier) for tier, now in both)


def _stands_below(now: TierCounters, before: TierCounters) -> bool:
    return now.offered < before.offered or now.admitted < before.admitted or now.barred < before.barred


def _tier_load(before: TierCounters | None, after: TierCounters, span: Seconds) -> TierLoad:
    wanted_before = before.wanted if before else 0.0
    admitted_before = before.admitted if before else 0.0
    return TierLoad(
        offered=UnitsPerSecond(max(0.0, after.wanted - wanted_before) / span),
        admitted=UnitsPerSecond(max(0.0, after.admitted - admitted_before) / span),
        waiting=after.waiting,
        wait_p99=after.wait_p99,
        size=_size(before, after),
        for_gpu=after.for_gpu,
        rate=after.rate,
    )


def _size(before: TierCounters | None, after: TierCounters) -> Units:
    """Of all that came, the barred ones too. No request is larger than everything together, whatever an agent tells."""
    came = after.offered - (before.offered if before else 0.0)
    squares = after.squares - (before.squares if before else 0.0)
    return Units(min(squares / came, came)) if came > 0 and squares > 0 else A_UNIT
