"""A decision: what to do, and why, in the same breath."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from meltguard.core.chance import Excess
from meltguard.core.fleet import NodeView
from meltguard.core.memory import Memory
from meltguard.core.models import Rates, worth_of
from meltguard.core.move_actions import Intent
from meltguard.core.policy import Capacity, Level, Override, Policy, TierState
from meltguard.core.providers import Want
from meltguard.core.rollout_state import Rollouts
from meltguard.core.seen import Snapshot
from meltguard.core.sharing import Peer, a_peer
from meltguard.core.stopped import Stopped
from meltguard.core.units import (
    GpuHours,
    Gpus,
    Instant,
    NodeName,
    Percent,
    PodUid,
    PoolName,
    Pressure,
    Seconds,
    Share,
    TierName,
    UnitsPerSecond,
)

NO_WORK: Final = GpuHours(0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalPressure:
    """What one signal says."""

    name: str
    value: float | None
    unit: str
    age: Seconds
    pressure: Pressure | None  # None: unknown
    drives: bool  # may set the level
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierLimit:
    """What a whole tier may have now."""

    tier: TierName
    state: TierState
    rate: UnitsPerSecond | None
    demand: UnitsPerSecond
    since: Instant | None
    cause: str  # "" where nothing limits the tier
    lifts_when: str
    until: Instant | None = None  # it ends then, if not before; None: nobody knows when


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureShare:
    """What share of users has a feature now."""

    name: str
    share: Percent
    since: Instant | None  # when fewer than usual began to have it; None while all who should have it do
    cause: str  # "" where nothing slows it
    lifts_when: str
    until: Instant | None = None  # as of a tier's limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One rule's answer, as a sentence."""

    rule: str
    holds: bool
    text: str
    reason: str = ""  # in CamelCase, where a rule knows several
    until: Instant | None = None  # where it does not hold: from when on it may by itself; None: no clock tells
    way: str = ""  # where it closes only one of several ways to a node: which


@dataclass(frozen=True, slots=True, kw_only=True)
class Borrow:
    """Claim this node."""

    node: NodeName
    home: PoolName
    to: PoolName
    work_lost: GpuHours = NO_WORK  # unsaved work that its evictions would cost, beyond what is broken off already
    victims: tuple[str, ...] = ()  # the work that they would break off: a gang's name, or `Pod namespace/name`
    stops: tuple[Stopped, ...] = ()  # the same with what each loses, the most first, where no node before it did
    gang_elsewhere: tuple[str, ...] = ()  # `namespace/name on node`: pods of that work that stop with it
    cause: str = ""  # what the service lacks


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """What the service lacks."""

    policy: Policy
    capacity: Capacity
    seen: Snapshot
    memory: Memory
    signals: tuple[SignalPressure, ...]
    pressure: Pressure | None
    demand: UnitsPerSecond  # that is offered, averaged
    busy: Share  # of the time, of the GPUs that answered
    missing: Gpus  # such as serve today, beyond those and what is on its way
    beyond: UnitsPerSecond  # of the demand, what those at hand and on their way cannot do; may be negative
    excess: Excess  # the same as it was counted, summed up
    now: Instant
    usual: tuple[Rates, UnitsPerSecond] | None = None  # (what each model does, what a GPU does that serves today)
    planned: bool = False  # the calendar asks for it, whatever the demand
    foreseen: UnitsPerSecond | None = None  # what the demand grows to until a node serves; None: that does not count

    def worth(self, node: NodeView) -> float:
        """How many of the missing GPUs a node stands for: by what its model does, where that is known."""
        return worth_of(node, self.seen.gpu_kinds, self.usual)

    @property
    def taker(self) -> Peer:
        """This service among the others that want nodes."""
        held = sum(self.seen.gpus_of(node) for node in self.seen.loans)
        return a_peer(self.policy.key, self.capacity, held, self.missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetReplicas:
    """Ask the workload for this many serving pods."""

    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Everything that one pass decides about one service."""

    at: Instant
    level: Level
    level_since: Instant
    pressure: Pressure | None  # None: no driving signal is known
    signals: tuple[SignalPressure, ...]
    capacity: UnitsPerSecond | None  # measured, derated; None: not learned yet
    budget: UnitsPerSecond | None
    limits: tuple[TierLimit, ...]
    features: tuple[FeatureShare, ...]
    overrides: tuple[Override, ...]  # in force
    rollouts: Rollouts | None  # None: the policy never holds updates
    borrow: tuple[Borrow, ...]
    intents: Mapping[NodeName, Intent]  # for each node claimed by this policy
    replicas: SetReplicas | None
    rules: tuple[Outcome, ...]
    why: str  # one line
    next_change: str  # what is earliest to change, or what would unblock it
    memory: Memory
    level_lifts: str = ""  # what must come about for a milder level; "" where there is none
    heat: Mapping[PodUid, Share] = field(default_factory=dict)  # what it leaves of each pod's GPUs; 1 is cool
    waits_for: Mapping[PoolName, bool] = field(default_factory=dict)  # queues there; whether it looks for nodes yet
    shortage: Shortage | None = None  # what `borrow` was planned from; None: nothing is ever borrowed
    want: Want | None = None  # what providers are asked for
    leaving: frozenset[NodeName] = frozenset()  # on their way home: no limit counts on them any more
    doubts: tuple[str, ...] = ()  # the pods that are not believed, each with the reason
    learning: bool = False  # nothing of this may be issued yet: what the pods hold is not known

    @property
    def as_peer(self) -> Peer | None:
        """What other services must know of it; None where it wants no node."""
        if self.shortage is None or not self.waits_for:
            return None
        none = {} if self.borrow else {lender: self.at for lender, looks in self.waits_for.items() if looks}
        return replace(self.shortage.taker, lenders=frozenset(self.waits_for), finds_none=none, at=self.at)
