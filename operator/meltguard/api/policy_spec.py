"""What a policy asks for."""

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from meltguard.api import fields
from meltguard.api.label_selector import LabelSelector
from meltguard.api.levels import LevelName
from meltguard.api.policy_metrics import MetricsSpec
from meltguard.api.policy_tiers import FLOORS_FIT, FeatureSpec, TierSpec
from meltguard.api.recurring import RecurringSpec
from meltguard.api.rules import Checked, Rule, RuledModel
from meltguard.core.forecast import Forecast
from meltguard.core.policy import Mode, ReplicaWriter, Source, TierState

MOST_TEXT: Final = 8192
"""Characters that a policy's free texts may have together: it keeps the spec under 16 KiB."""

PoolName = Annotated[str, fields.name("borrowFrom")]
LevelAboveNormal = Literal[LevelName.ELEVATED, LevelName.OVERLOADED, LevelName.CRITICAL]


class WorkloadRef(RuledModel):
    """The object whose replicas follow the capacity."""

    api_version: Annotated[str, Field(min_length=1, max_length=128)]
    """Group and version, like apps/v1."""
    kind: Annotated[str, Field(min_length=1, max_length=63)]
    """Kind, like Deployment; it must have a scale subresource."""
    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name, in the policy's namespace."""


class ServiceSpec(RuledModel):
    """The pods that serve images."""

    selector: LabelSelector
    """Labels of the serving pods, in the policy's namespace."""
    agent_port: Annotated[int, Field(ge=1, le=65535)] = 9901
    """Port of the meltguard agent in each serving pod."""
    workload_ref: WorkloadRef | None = None
    """The workload that owns the pods, to give it replicas on borrowed nodes. Omitted: replicas are never set."""
    gpus_per_pod: Annotated[int, Field(ge=1, le=64)] = 1
    """GPUs that one serving pod uses."""


class LevelsSpec(RuledModel):
    """How the level moves."""

    dwell: Annotated[str, fields.duration("dwell", "1s", "1h")] = "60s"
    """How long pressure must stay low before the level steps down by one. Up it goes after two samples."""


class CalendarSpec(RecurringSpec):
    """Loans that are wanted at certain hours, whatever the demand."""

    min_loans: Annotated[int, Field(ge=1, le=1000)]
    """Fewest nodes on loan while it is open. Every rule of the lenders holds as ever."""


class CapacitySpec(RuledModel):
    """Where more GPUs may come from, and when."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.calendar) || self.calendar.all(c, c.minLoans <= self.maxLoans)",
            holds=lambda self: all(one.min_loans <= self.max_loans for one in self.calendar),
            message="minLoans of an entry of calendar must not be above maxLoans: lower minLoans or raise maxLoans",
        ),
        Rule(
            cel="!has(self.borrowFrom) || !(self.pool in self.borrowFrom)",
            holds=lambda self: self.pool not in self.borrow_from,
            message="borrowFrom may not name the pool that the service runs on: remove it there",
        ),
    )

    pool: Annotated[str, fields.name("pool")]
    """GPUPool that the service runs on; borrowed nodes join it."""
    borrow_from: Annotated[
        tuple[Annotated[str, fields.name("borrowFrom")], ...], Field(max_length=16), fields.ListSet()
    ] = ()
    """GPUPools to borrow nodes from, the first first. Each must lend to this namespace."""
    max_loans: Annotated[int, Field(ge=0, le=1000)] = 1
    """Most nodes on loan to this policy at a time."""
    borrow_at_pressure: Annotated[str, fields.number("borrowAtPressure", "0.1", "3", "0.9")] = "0.9"
    """Pressure from which nodes are borrowed; limits bite from 1.0 on."""
    return_after: Annotated[str, fields.duration("returnAfter", "1s", "24h")] = "10m"
    """How long the service must have been calm on one node fewer before that node goes home."""
    replicas: ReplicaWriter = ReplicaWriter.MELTGUARD
    """Who gives the workload pods for borrowed nodes. Others: an autoscaler or GitOps tool does; we never write."""
    priority: Annotated[int, Field(ge=1, le=1000)] = 1
    """Against other policies that want the same nodes: missing GPUs count this many times."""
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    """Share of lent GPUs among policies of the same priority."""
    order: Annotated[tuple[Source, ...], Field(min_length=1, max_length=2), fields.ListSet()] = (
        Source.BORROW,
        Source.BUY,
    )
    """What is tried first where GPUs are missing: Borrow takes nodes that pools of borrowFrom have, Buy has those of
    them with a scaleRef grow. What is left out is never done."""
    calendar: Annotated[tuple[CalendarSpec, ...], Field(max_length=16), fields.ATOMIC] = ()
    """Hours at which nodes are borrowed ahead of demand. Where several are open, the one that asks for most counts."""
    forecast: Forecast = Forecast.OFF
    """Trend: as many GPUs are asked for as a rising demand will need once a node that is claimed now serves (as long as
    the service's pods were seen to take), at most half as much again. Off: as many as it needs now."""
    images_per_gpu_minute: Annotated[str, fields.number("imagesPerGPUMinute", "0.001", "100000", "7.5")] | None = Field(
        default=None, alias="imagesPerGPUMinute"
    )
    """Reference images that one GPU completes in a minute: a first estimate, used until it is measured."""


class RolloutsSpec(RuledModel):
    """Updates of the service."""

    hold_at: LevelAboveNormal = LevelName.OVERLOADED
    """Level from which updates wait."""
    cheaper_by: Annotated[str, fields.share("cheaperBy")] = "5%"
    """An update that waits is tried on one pod, and goes on share by share where an image costs surely so much less GPU
    time than before; one that costs so much more is taken back, at any share. 100%: none is tried."""


class OverrideSpec(RuledModel):
    """A person's word above the law, until a time."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.level) || has(self.state) || has(self.limit)",
            holds=lambda self: bool(self.level or self.state or self.limit),
            message="override says nothing: give level, or tier with state or limit",
        ),
        Rule(
            cel="has(self.tier) || !(has(self.state) || has(self.limit))",
            holds=lambda self: bool(self.tier) or not (self.state or self.limit),
            message="override with state or limit must name the tier that it is for",
        ),
        Rule(
            cel="!(has(self.level) && has(self.tier))",
            holds=lambda self: not (self.level and self.tier),
            message="override of the level is for the whole service: remove tier, or write two overrides",
        ),
        Rule(
            cel="!has(self.limit) || !has(self.state) || self.state in ['Delay', 'Reject']",
            holds=lambda self: not self.limit or self.state in {None, TierState.DELAY, TierState.REJECT},
            message="limit means nothing with state Open or Suspend: remove limit, or set state to Delay or Reject",
        ),
    )

    tier: Annotated[str, fields.name("tier")] | None = None
    """Tier whose state or limit is set."""
    level: LevelName | None = None
    """Level that holds, whatever the pressure."""
    state: TierState | None = None
    """State that holds for the tier: Open, Delay, Reject or Suspend."""
    limit: Annotated[str, fields.rate("limit", "to admit nothing, set state to Suspend")] | None = None
    """Image units over time for the whole tier."""
    until: Annotated[str, fields.instant("until")]
    """When the override ends, RFC 3339. After that it does nothing."""
    reason: Annotated[str, Field(min_length=3, max_length=256)]
    """Why, for those who find it."""
    by: Annotated[str, Field(max_length=128)] = ""
    """Who set it."""


def _overridden_tiers_exist(spec: Any) -> bool:
    tiers = {tier.name for tier in spec.tiers}
    return all(override.tier is None or override.tier in tiers for override in spec.overrides)


def _texts_fit(spec: Any) -> bool:
    texts = [tier.message for tier in spec.tiers]
    texts += [text for signal in spec.metrics.signals for text in (signal.query, signal.freshness_query)]
    texts += [text for override in spec.overrides for text in (override.reason, override.by)]
    return sum(len(text or "") for text in texts) <= MOST_TEXT


def _size(where: str, item: str, *fields: str) -> str:
    sizes = " + ".join(f"(has({item}.{field}) ? size({item}.{field}) : 0)" for field in fields)
    return f"(has({where}) ? {where}.map({item}, {sizes}).sum() : 0)"


_TEXT_SIZE: Final = " + ".join(
    [
        _size("self.tiers", "t", "message"),
        _size("self.metrics.signals", "s", "query", "freshnessQuery"),
        _size("self.overrides", "o", "reason", "by"),
    ]
)


class PolicySpec(RuledModel):
    """How an image service is kept alive through a surge."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.overrides) || self.overrides.all(o, !has(o.tier) || self.tiers.exists(t, t.name == o.tier))",
            holds=_overridden_tiers_exist,
            message="overrides name a tier that spec.tiers does not have: correct tier, or add it to spec.tiers",
        ),
        Rule(
            cel=f"{_TEXT_SIZE} <= {MOST_TEXT}",
            holds=_texts_fit,
            message="messages, queries, reasons and names of overrides are too long together: "
            f"shorten them to {MOST_TEXT} characters, queries by recording rules",
        ),
    )

    mode: Mode = Mode.ENFORCE
    """Enforce acts. Shadow decides and reports but enforces nothing. Paused renews what holds, starts no move and finishes or undoes open ones."""  # noqa: E501
    service: ServiceSpec
    """The pods that serve images."""
    metrics: MetricsSpec = MetricsSpec()
    """What pressure is measured by."""
    levels: LevelsSpec = LevelsSpec()
    """How the level moves."""
    capacity: CapacitySpec | None = None
    """Where more GPUs may come from. Omitted: nothing is borrowed."""
    tiers: Annotated[
        tuple[TierSpec, ...], Field(min_length=1, max_length=16), fields.ListMap("name"), Checked((FLOORS_FIT,))
    ]
    """Classes of users, and what each may have."""
    features: Annotated[tuple[FeatureSpec, ...], Field(max_length=16), fields.ListMap("name")] = ()
    """New features that fade as the level rises."""
    rollouts: RolloutsSpec | None = None
    """Updates of the service. Omitted: they are never held."""
    overrides: Annotated[tuple[OverrideSpec, ...], Field(max_length=16), fields.ATOMIC] = ()
    """What people have set above the law. Set by hand or by kubectl meltguard override."""
