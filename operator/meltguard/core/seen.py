"""What one pass over a service saw."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from meltguard.core.comparison import Compared
from meltguard.core.fleet import Claim, Guards, NodeView, PodView
from meltguard.core.load import PodLoad
from meltguard.core.pools import PoolView
from meltguard.core.sharing import Peer
from meltguard.core.units import (
    GpuHours,
    Gpus,
    Instant,
    NodeName,
    PodUid,
    PoolName,
    Seconds,
    Share,
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
