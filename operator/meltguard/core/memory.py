"""What one decision leaves for the next, in status: nothing else is remembered."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from meltguard.core.chance import NO_EXCESS, Excess
from meltguard.core.demand import SOME_EVIDENCE
from meltguard.core.forecast import Trend
from meltguard.core.loading import Loading
from meltguard.core.policy import Level
from meltguard.core.units import (
    Instant,
    NodeName,
    Percent,
    PoolName,
    Pressure,
    Share,
    TierName,
    Units,
    UnitsPerSecond,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """A lender called nodes back against the borrower's need."""

    at: Instant  # the last time
    times: int  # each within a day of the one before


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
    unknown_since: Mapping[str, Instant] = field(default_factory=dict)  # by driving signal
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
    down_since: Instant | None = None  # see core/rollout.py
    slowed: Mapping[str, Slowed] = field(default_factory=dict)  # by feature
