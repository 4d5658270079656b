"""What one pass over a service saw, and what the last passes left behind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from meltguard.core.chance import NO_EXCESS, Excess
from meltguard.core.comparison import Compared
from meltguard.core.demand import SOME_EVIDENCE
from meltguard.core.fleet import Claim, Guards, NodeView, PodView
from meltguard.core.forecast import Trend
from meltguard.core.load import PodLoad
from meltguard.core.loading import Loading
from meltguard.core.policy import Level
from meltguard.core.pools import PoolView
from meltguard.core.sharing import Peer
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
    Units,
    UnitsPerSecond,
)

NO_GPUS: Final = Gpus(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One signal now. `value` is None where it is unknown, and `problem` says why."""

    signal: str
    value: float | None
    age: Seconds
    problem: str = ""
    by_node: Mapping[NodeName, float] = field(default_factory=dict)  # where the nodes can be told apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The replicas of the workload that owns the serving pods."""

    replicas: int
    scaled_by: str = ""  # who else sets them, in words


class TrialStage(StrEnum):
    """How far a new revision's trial is; written on the workload before anything follows from it."""

    STARTING = "Starting"  # one pod of it is being started
    JUDGING = "Judging"  # no further pod starts: what it costs on this share of the pods is compared
    WIDENING = "Widening"  # cheaper so far: pods of it start up to the next share
    PROMOTED = "Promoted"  # cheaper at every share: the update goes on to all pods
    REFUSED = "Refused"  # dearer, or it does not start: its pods go
    EQUAL = "Equal"  # waits at its share for the end of the hold


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialMark:
    """What is written of a trial on the workload."""

    stage: TrialStage
    template: str  # digest of the pod template that is tried
    before: tuple[str, ...]  # revisions that served before it
    since: Instant  # of the stage
    strategy: str  # the workload's own, as JSON: put back at the end
    pods: int = 1  # that are to run it at this stage; more follow only from the next
    found: Compared | None = None  # when the stage began; None: nothing was compared yet


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutMark:
    """What is written on a workload whose updates a policy holds."""

    policy: str  # namespace/name
    policy_uid: str
    since: Instant
    trial: TrialMark | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutView:
    """Whether a workload's updates go on."""

    paused: bool
    mark: RolloutMark | None  # None: no policy holds them
    updating: bool = False  # pods are being replaced, and it goes forward
    template: str = ""  # digest of the pod template that is wanted; "" where revisions cannot be tried
    strategy: str = ""  # how pods are replaced, as JSON; "" where that is all at once
    pending: bool = False  # the template is newer than every pod's
    our_strategy: bool = False  # it is one that a trial writes
    replicas: int = 1  # pods that are wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRevision:
    """Which version of its template a serving pod was made from."""

    revision: str  # the pod-template-hash
    replica_set: str
    ready: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """Whether a pool's windows let loans start now."""

    open: bool
    why: str  # in words, with the time zone
    until: Instant | None  # when this changes next; None: never
    problem: str = ""  # its windows cannot be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the service's calendar asks for now."""

    least: int = 0  # loans
    why: str = ""  # in words, or what it asks for next
    problem: str = ""  # an entry cannot be read


NO_PLAN: Final = Plan()


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOffer:
    """Nothing can be ordered at a provider now."""

    why: str
    until: Instant | None  # it rests until then; None: no clock tells


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallOrder:
    """A person's word, written on the lending pool: bring these loans home."""

    nodes: frozenset[str]  # empty: all of the pool's
    before: Instant  # loans claimed later are not meant
    reason: str

    def means(self, node: NodeName, claim: Claim) -> bool:
        """Whether this loan is to come home."""
        return claim.since <= self.before and (not self.nodes or node in self.nodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """A lender called nodes back against the borrower's need."""

    at: Instant  # the last time
    times: int  # each within a day of the one before


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuClock:
    """What one GPU of the service runs at, in its exporter's unit."""

    node: NodeName
    model: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One service as seen at one moment."""

    ready_pods: int  # that should answer
    loads: tuple[PodLoad, ...]  # of the ready pods that answered
    readings: tuple[Reading, ...]  # platform signals; the agents' own are formed from `loads`
    pools: Mapping[PoolName, PoolView]
    loans: tuple[NodeView, ...]  # nodes claimed for this policy
    namespace_labels: Mapping[str, str]
    workload: Workload | None
    fleet_age: Seconds  # since the watch on nodes and pods last proved itself alive
    guards: Guards = field(default_factory=Guards)
    pending: tuple[PodView, ...] = ()  # pods that no node runs yet, of any namespace
    started: Mapping[PodUid, Instant] = field(default_factory=dict)  # the service's own pods, Ready or not
    unready_pods: int = 0  # that run and are not Ready
    unready: tuple[PodLoad, ...] = ()  # of those that answered
    tightened: frozenset[NodeName] = frozenset()  # on their way home, and every ready pod's limits reckon with that
    priority: int = 0  # of the service's own pods, the highest
    models: Mapping[PodUid, str] = field(default_factory=dict)  # of the service's pods' GPUs; see core/models.py
    gpu_kinds: frozenset[str] = frozenset()  # resources that the service's own pods ask for; empty: not known
    hours: Mapping[PoolName, Hours] = field(default_factory=dict)  # a pool that is not named is always open
    plan: Plan = NO_PLAN
    recalls: Mapping[PoolName, RecallOrder] = field(default_factory=dict)
    lent_lately: Mapping[PoolName, GpuHours] = field(default_factory=dict)  # to anybody, faded; see core/ledger.py
    on_order: Gpus = NO_GPUS  # at providers, for this policy
    on_offer: Mapping[PoolName, int] = field(default_factory=dict)  # nodes that a provider would sell now
    no_offer: Mapping[PoolName, NoOffer] = field(default_factory=dict)  # providers that would sell none
    clocks: tuple[GpuClock, ...] = ()  # of the service's GPUs; none where nobody tells
    rollout: RolloutView | None = None  # of the workload; None: not known
    rollout_problem: str = ""  # why it is not
    peers: tuple[Peer, ...] = ()  # other services that want nodes now
    revisions: Mapping[PodUid, PodRevision] = field(default_factory=dict)  # of the service's pods, Ready or not
    trial: Compared = field(default_factory=Compared)  # what the trial of a new revision has counted so far

    @property
    def believed(self) -> tuple[PodLoad, ...]:
        """What the pods tell of which there is no doubt."""
        return tuple(load for load in self.loads if not load.doubt)

    @property
    def coverage(self) -> Share:
        """Share of the ready pods that answered and are believed, or, where none is Ready, of those that run."""
        answered, pods = (self.believed, self.ready_pods) if self.ready_pods else (self.unready, self.unready_pods)
        return Share(min(1.0, len(answered) / pods) if pods else 1.0)

    @property
    def overloaded(self) -> tuple[PodLoad, ...]:
        """Pods that have work and are not Ready, which may be for having too much of it: their users are users too."""
        return tuple(load for load in self.unready if load.at_work and not load.doubt)

    @property
    def heard(self) -> tuple[PodLoad, ...]:
        """Those whose users count as demand: all that tell of work and are believed, Ready or not."""
        return (*self.believed, *self.overloaded)

    @property
    def answers(self) -> bool:
        """Whether the demand is known, if only in part: ready pods that are silent may hide any."""
        return bool(self.believed) or (not self.ready_pods and bool(self.overloaded))

    @property
    def serving_nodes(self) -> frozenset[NodeName]:
        """On which some pod of the service works."""
        return frozenset(load.node for load in (*self.loads, *self.overloaded))

    def gpus_of(self, node: NodeView) -> Gpus:
        """What the service's pods can be given of a node."""
        return node.gpus_for(self.gpu_kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A tier's limit as last decided. `rate` None is no limit."""

    rate: UnitsPerSecond | None
    since: Instant | None  # when the present limitation began; None while there is none
    cause: str = ""
    rising: bool = True  # the way it last moved; lifted is up, begun is down
    turned: Instant | None = None  # it moved the other way before then; None: it never moved
    by_law: bool = True  # False: a suspension or a person's word, which says nothing of what the law would give


@dataclass(frozen=True, slots=True, kw_only=True)
class Slowed:
    """A feature that fewer users have than usual."""

    share: Percent
    since: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What one decision leaves for the next; lives in status. The default is a cautious start."""

    level: Level = Level.NORMAL  # the law's, whatever a person sets above it
    level_since: Instant = Instant(0.0)
    in_force: tuple[Level, Instant] | None = None  # the level that holds, since when; None: the law's as above
    risen: Level = Level.NORMAL  # what the last sample alone would have asked for
    calm_since: Instant | None = None  # pressure low enough to step down since then
    blind_since: Instant | None = None  # a driving signal is unknown since then
    decided_at: Instant | None = None
    agents_at: Instant | None = None  # when an agent last answered
    units_per_gpu: UnitsPerSecond | None = None  # learned: units a busy GPU completes in a second
    evidence: Units = SOME_EVIDENCE  # that it was learned from
    speeds: Mapping[str, tuple[UnitsPerSecond, Units]] = field(default_factory=dict)  # the same by model of GPU
    trim: float = 1.0
    loading: Loading = field(default_factory=Loading)  # how long new pods take; the pods being timed are not kept
    heat: Share = Share(1.0)  # derating by temperature; held while the temperature is unknown
    demand: Mapping[TierName, UnitsPerSecond] = field(default_factory=dict)
    trend: Trend | None = None  # of the demand that more than one agent tells of
    usual: UnitsPerSecond | None = None  # what is demanded on a usual day's peak
    usual_pressure: Mapping[str, Pressure] = field(default_factory=dict)  # of each platform signal, likewise
    surge_at: Instant | None = None  # a demand far off the usual was last confirmed
    limits: Mapping[TierName, Held] = field(default_factory=dict)
    short_since: Instant | None = None  # more GPUs were wanted since then
    excess: Excess = NO_EXCESS  # what is asked for beyond what serves, summed up
    spare_since: Instant | None = None  # one node could go since then
    breach_since: Mapping[PoolName, Instant] = field(default_factory=dict)  # a lender stands below its floor
    confirmed_at: Instant | None = None  # the platform last said that the GPUs are used
    replicas_found: int | None = None  # of the workload, before the first loan
    replicas_set: int | None = None  # what we last asked for
    replicas_before: int | None = None  # what stood there then, until the workload was seen to follow
    rested: Mapping[str, Instant] = field(default_factory=dict)  # node name to when it came home
    recalled: Mapping[PoolName, Recalled] = field(default_factory=dict)
    returned_at: Instant | None = None  # a node last went home because the service was calm
    yielded: tuple[NodeName, Instant] | None = None  # the node that last went home for another service, since when
    slowed: Mapping[str, Slowed] = field(default_factory=dict)  # by feature
