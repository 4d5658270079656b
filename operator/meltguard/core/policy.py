"""What people ask for: a policy and a pool, as the decision sees them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from meltguard.core.forecast import Forecast
from meltguard.core.quota import Period, WhenUncounted
from meltguard.core.quota_ref import QuotaRef
from meltguard.core.scaling import Scaling
from meltguard.core.units import Gpus, Instant, Percent, PoolName, Pressure, Seconds, Share, TierName, UnitsPerSecond


class Level(IntEnum):
    """How hard the service is pressed; discrete measures hang on it."""

    NORMAL = 0
    ELEVATED = 1
    OVERLOADED = 2
    CRITICAL = 3

    @property
    def label(self) -> str:
        """The level's name in specs, status and documents."""
        return self.name.capitalize()


class TierState(StrEnum):
    """What happens to a tier's requests, from mildest to hardest."""

    OPEN = "Open"
    DELAY = "Delay"
    REJECT = "Reject"
    SUSPEND = "Suspend"

    @property
    def rank(self) -> int:
        """0 is the mildest."""
        return list(TierState).index(self)


class Mode(StrEnum):
    """How far a policy may act."""

    ENFORCE = "Enforce"
    SHADOW = "Shadow"  # decide and report, enforce nothing
    PAUSED = "Paused"  # renew what holds, start no move, finish or undo open ones


class SignalKind(StrEnum):
    """Where a signal comes from and what its numbers mean."""

    AGENT_WAIT = "agent-wait"  # predicted wait in seconds, from the agents
    GPU_TEMPERATURE = "gpu-temperature"  # the hottest of the service's GPUs, degrees Celsius
    GPU_UTILIZATION = "gpu-utilization"  # mean of the service's GPUs, per cent
    GPU_POWER = "gpu-power"  # the highest draw of the service's GPUs, watts
    GPU_CLOCK = "gpu-clock"  # of the service's GPUs; no signal of a policy: it derates what a GPU is trusted with
    GPU_XID = "gpu-xid"  # the last Xid error of each GPU; no signal of a policy: it tells which nodes are sick
    QUERY = "query"  # a PromQL expression of the policy's


class SignalUse(StrEnum):
    """What a signal may do."""

    DRIVE = "Drive"  # sets the level
    CONFIRM = "Confirm"  # confirms loans; never sets or holds a level


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One signal and the three points of its scale, in the signal's own unit."""

    name: str
    kind: SignalKind
    use: SignalUse
    calm: float
    target: float
    critical: float
    query: str = ""
    freshness_query: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A user's exact allowance per calendar period."""

    images: int
    time_zone: str
    per: Period = Period.DAY
    when_uncounted: WhenUncounted = WhenUncounted.REFUSE


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A class of users."""

    name: TierName
    priority: int
    weight: int
    floor: Share  # of the budget, kept for this tier unless it is suspended
    max_rate: UnitsPerSecond | None  # for the whole tier
    quota: Quota | None
    max_wait: Seconds
    shed_status: int
    message: str
    on_level: Mapping[Level, TierState]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A new feature's share of users, by level."""

    name: str
    rollout: Mapping[Level, Percent]


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A person's word above the law, until a time."""

    until: Instant
    reason: str
    tier: TierName | None = None
    level: Level | None = None
    state: TierState | None = None
    limit: UnitsPerSecond | None = None
    by: str = ""  # who set it

    @property
    def sets(self) -> str:
        """What it sets, in words: `free: Suspend`, `level: Overloaded`."""
        if self.level is not None:
            return f"level: {self.level.label}"
        rate = "" if self.limit is None else f"{self.limit * 60.0:.4g}/m"
        return f"{self.tier}: {' at '.join(part for part in (self.state or '', rate) if part)}"

    @property
    def said(self) -> str:
        """Why a person set it, and who, as causes quote it."""
        return f"override: {self.reason}" + (f" ({self.by})" if self.by else "")


class ReplicaWriter(StrEnum):
    """Who gives the workload more pods while nodes are lent."""

    MELTGUARD = "Meltguard"
    OTHERS = "Others"  # an autoscaler, a GitOps tool, people


class Source(StrEnum):
    """Where missing GPUs come from."""

    BORROW = "Borrow"  # nodes that a lender has
    BUY = "Buy"  # nodes that a provider makes for us


class WindowAction(StrEnum):
    """What a window does."""

    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A recurring span of time, as its owner wrote it."""

    action: WindowAction
    schedule: str  # five cron fields
    duration: Seconds
    time_zone: str  # IANA name


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """Loans that a service wants at certain hours, whatever its demand."""

    window: Window
    least: int  # loans


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Where more GPUs may come from, and when."""

    pool: PoolName
    borrow_from: tuple[PoolName, ...]
    max_loans: int
    borrow_at: Pressure
    return_after: Seconds
    units_per_gpu: UnitsPerSecond | None  # a first estimate, until measured
    replicas: ReplicaWriter = ReplicaWriter.MELTGUARD
    priority: int = 1  # against other policies: their unmet demand counts times this
    weight: int = 1  # the share among policies of one priority
    order: tuple[Source, ...] = (Source.BORROW, Source.BUY)  # what is tried first
    calendar: tuple[Booking, ...] = ()
    forecast: Forecast = Forecast.OFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """An ImageServicePolicy, parsed and defaulted."""

    namespace: str
    name: str
    uid: str
    mode: Mode
    gpus_per_pod: Gpus
    stale_after: Seconds
    dwell: Seconds
    signals: tuple[Signal, ...]
    tiers: tuple[Tier, ...]
    capacity: Capacity | None
    features: tuple[Feature, ...]
    overrides: tuple[Override, ...]
    hold_at: Level | None = None  # level from which updates of the service wait; None: they never do
    cheaper_by: Share | None = None  # an update that is so much cheaper does not wait; None: none is tried

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def wait_target(self) -> Seconds:
        """The predicted wait that the limits aim at; it is also the law's time scale."""
        waits = (signal.target for signal in self.signals if signal.kind is SignalKind.AGENT_WAIT)
        return Seconds(next(waits, DEFAULT_WAIT_TARGET))


DEFAULT_WAIT_TARGET = Seconds(4.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taint:
    """A node taint; pools use NoSchedule only."""

    key: str
    value: str
    effect: str
    time_added: str = field(default="", compare=False)  # RFC 3339, as Kubernetes wrote it; on NoExecute taints only


class OnDeadline(StrEnum):
    """What happens when a node is not empty in time."""

    GIVE_UP = "GiveUp"  # restore it, try another
    SKIP_NOTICE = "SkipNotice"  # evict the rest at once, still within their budgets


@dataclass(frozen=True, slots=True, kw_only=True)
class Eviction:
    """How running work is asked to leave. Always through the Eviction API."""

    notice: Seconds  # how long before its eviction a pod is told
    minimum_runtime: Seconds  # pods that have run for less are not evicted
    deadline: Seconds  # after the claim, by which the node must be empty
    on_deadline: OnDeadline
    loses_local_data: bool  # pods with data on the node's disk may be evicted
    fails_jobs: bool  # Jobs whose backoffLimit the eviction would spend may be broken off


@dataclass(frozen=True, slots=True, kw_only=True)
class HarmBounds:
    """How much running work a lender lets loans break off."""

    per_gpu: Seconds = Seconds(86_400.0)  # of one GPU, for each GPU that is relieved
    nodes_at_once: int = 4  # that are being emptied


@dataclass(frozen=True, slots=True, kw_only=True)
class Lending:
    """How far a pool lends."""

    floor: int  # Ready, schedulable, unclaimed nodes that stay
    floor_share: Share  # the same as a share of the pool's nodes; the larger of both holds
    max_loans: int
    max_duration: Seconds
    borrower_labels: Mapping[str, str]  # that a borrower's namespace must bear
    eviction: Eviction | None = None  # None: idle nodes only, nothing is ever evicted for a loan
    bounds: HarmBounds = field(default_factory=HarmBounds)
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A GPUPool, parsed and defaulted. `lending` is None where it lends nothing."""

    name: PoolName
    uid: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    lending: Lending | None
    cost: float | None = None  # of one GPU for an hour; one currency over all pools
    scaling: Scaling | None = None  # None: no provider makes it larger
    kueue: QuotaRef | None = None  # the number at Kueue that sells its nodes; None: nobody keeps one
