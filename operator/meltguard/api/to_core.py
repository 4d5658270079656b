"""From the custom resources, as the API server holds them, to the values that decisions are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from meltguard.api import quantities as read
from meltguard.api.levels import LevelName
from meltguard.api.policy import ImageServicePolicy
from meltguard.api.policy_metrics import DEFAULT_SIGNALS, PRESET_SCALES, SignalSpec
from meltguard.api.policy_spec import CapacitySpec, OverrideSpec, RolloutsSpec
from meltguard.api.policy_status import PolicyStatus
from meltguard.api.policy_tiers import FeatureSpec, OnLevel, QuotaSpec, TierSpec
from meltguard.api.pool import GPUPool
from meltguard.api.pool_kueue import quota_ref
from meltguard.api.pool_spec import EvictionSpec, LendingSpec, ProviderSpec, Sacrifice
from meltguard.api.pool_status import PoolStatus
from meltguard.api.provider_terms import scaling_of
from meltguard.api.recall import RECALL_ANNOTATION, read_recall
from meltguard.api.recurring import RecurringSpec
from meltguard.core.policy import (
    Booking,
    Capacity,
    Eviction,
    Feature,
    HarmBounds,
    Lending,
    Level,
    OnDeadline,
    Override,
    Policy,
    Pool,
    Quota,
    Signal,
    SignalKind,
    Taint,
    Tier,
    TierState,
    Window,
    WindowAction,
)
from meltguard.core.seen import RecallOrder
from meltguard.core.service import Comparison, Requirement, Selector, Service, WorkloadName
from meltguard.core.units import Gpus, Percent, PoolName, Pressure, Share, TierName, UnitsPerSecond
from meltguard.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyObject:
    """One ImageServicePolicy, read."""

    policy: Policy
    service: Service
    generation: int
    deleting: bool
    status: PolicyStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolObject:
    """One GPUPool, read."""

    pool: Pool
    generation: int
    deleting: bool
    status: PoolStatus
    recall: RecallOrder | None = None
    recall_problem: str = ""  # why a recall that is written on the pool has no effect


def read_policy(body: Mapping[str, Any]) -> PolicyObject:
    """An ImageServicePolicy.

    Raises:
        InvalidInput: it is none; the text names the field. The API server's rules let no such object in.
    """
    try:
        resource = ImageServicePolicy.model_validate(body)
    except ValidationError as exc:
        raise _invalid("ImageServicePolicy", body, exc) from exc
    spec, meta = resource.spec, resource.metadata
    selector = spec.service.selector
    workload = spec.service.workload_ref
    return PolicyObject(
        policy=_policy(resource),
        service=Service(
            selector=Selector(
                labels=selector.match_labels,
                requirements=tuple(
                    Requirement(key=one.key, comparison=Comparison(one.operator), values=frozenset(one.values))
                    for one in selector.match_expressions
                ),
            ),
            agent_port=spec.service.agent_port,
            metric_source=spec.metrics.source,
            workload=WorkloadName(api_version=workload.api_version, kind=workload.kind, name=workload.name)
            if workload
            else None,
        ),
        generation=meta.generation,
        deleting=meta.deletion_timestamp is not None,
        status=resource.status,
    )


def read_pool(body: Mapping[str, Any]) -> PoolObject:
    """A GPUPool. Raises as `read_policy`. A pool that is being deleted lends nothing any more."""
    try:
        resource = GPUPool.model_validate(body)
    except ValidationError as exc:
        raise _invalid("GPUPool", body, exc) from exc
    spec, meta = resource.spec, resource.metadata
    deleting = meta.deletion_timestamp is not None
    recall, problem = _recall(meta.annotations.get(RECALL_ANNOTATION))
    return PoolObject(
        recall=recall,
        recall_problem=problem,
        pool=Pool(
            name=PoolName(meta.name),
            uid=meta.uid,
            labels=spec.nodes.labels,
            taints=tuple(Taint(key=t.key, value=t.value, effect=t.effect) for t in spec.nodes.taints),
            lending=None if spec.lending is None or deleting else _lending(spec.lending),
            cost=_cost(spec.provider),
            scaling=scaling_of(spec.scale_ref) if spec.scale_ref else None,
            kueue=quota_ref(spec.kueue),
        ),
        generation=meta.generation,
        deleting=deleting,
        status=resource.status,
    )


def _recall(text: str | None) -> tuple[RecallOrder | None, str]:
    if text is None:
        return None, ""
    try:
        return read_recall(text), ""
    except InvalidInput as exc:
        return None, str(exc)


def _cost(provider: ProviderSpec | None) -> float | None:
    return read.parse_number(provider.cost_per_gpu_hour) if provider and provider.cost_per_gpu_hour else None


def _invalid(kind: str, body: Mapping[str, Any], exc: ValidationError) -> InvalidInput:
    first = exc.errors(include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    name = body.get("metadata", {}).get("name", "?")
    return InvalidInput(f"{kind} {name}: {where}: {first['msg']}; correct it with kubectl edit")


def _policy(resource: ImageServicePolicy) -> Policy:
    spec, meta = resource.spec, resource.metadata
    return Policy(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        mode=spec.mode,
        gpus_per_pod=Gpus(spec.service.gpus_per_pod),
        stale_after=read.parse_duration(spec.metrics.stale_after),
        dwell=read.parse_duration(spec.levels.dwell),
        signals=tuple(_signal(signal) for signal in spec.metrics.signals or DEFAULT_SIGNALS),
        tiers=tuple(_tier(tier) for tier in spec.tiers),
        capacity=_capacity(spec.capacity) if spec.capacity else None,
        features=tuple(_feature(feature) for feature in spec.features),
        overrides=tuple(read_override(override) for override in spec.overrides),
        hold_at=spec.rollouts.hold_at.level if spec.rollouts else None,
        cheaper_by=_cheaper_by(spec.rollouts),
    )


def _cheaper_by(spec: RolloutsSpec | None) -> Share | None:
    """100 % cheaper is nothing ever: no update is tried."""
    share = read.parse_share(spec.cheaper_by) if spec is not None else Share(1.0)
    return share if share < 1.0 else None


def _signal(spec: SignalSpec) -> Signal:
    given = [one for one in (spec.calm, spec.target, spec.critical) if one is not None]
    scale = given if spec.preset is None else given or PRESET_SCALES[spec.preset]
    calm, target, critical = (read.parse_measure(one) for one in scale)
    return Signal(
        name=spec.name,
        kind=SignalKind(spec.preset) if spec.preset else SignalKind.QUERY,
        use=spec.use,
        calm=calm,
        target=target,
        critical=critical,
        query=spec.query or "",
        freshness_query=spec.freshness_query or "",
    )


def _tier(spec: TierSpec) -> Tier:
    quota = _quota(spec.quota) if spec.quota else None
    return Tier(
        name=TierName(spec.name),
        priority=spec.priority,
        weight=spec.weight,
        floor=read.parse_share(spec.floor),
        max_rate=read.parse_rate(spec.max_rate) if spec.max_rate else None,
        quota=quota,
        max_wait=read.parse_duration(spec.max_wait),
        shed_status=spec.shed_status,
        message=spec.message,
        on_level=_on_level(spec.on_level) if spec.on_level else {},
    )


def _quota(spec: QuotaSpec) -> Quota:
    return Quota(images=spec.images, per=spec.per, time_zone=spec.time_zone, when_uncounted=spec.when_uncounted)


def _on_level(spec: OnLevel) -> dict[Level, TierState]:
    given = {Level.ELEVATED: spec.elevated, Level.OVERLOADED: spec.overloaded, Level.CRITICAL: spec.critical}
    return {level: TierState(state) for level, state in given.items() if state is not None}


def _feature(spec: FeatureSpec) -> Feature:
    """A level that is left out keeps the share of the one below it."""
    rollout: dict[Level, Percent] = {}
    share = Percent(100)
    for name in LevelName:
        given = getattr(spec.rollout, name.value.lower())
        share = share if given is None else read.parse_percent(given)
        rollout[name.level] = share
    return Feature(name=spec.name, rollout=rollout)


def read_override(spec: OverrideSpec) -> Override:
    """An override as the law knows it, whether its time is over or not."""
    return Override(
        until=read.parse_instant(spec.until),
        reason=spec.reason,
        tier=TierName(spec.tier) if spec.tier else None,
        level=spec.level.level if spec.level else None,
        state=spec.state,
        limit=read.parse_rate(spec.limit) if spec.limit else None,
        by=spec.by,
    )


def _capacity(spec: CapacitySpec) -> Capacity:
    guess = spec.images_per_gpu_minute
    return Capacity(
        pool=PoolName(spec.pool),
        borrow_from=tuple(PoolName(name) for name in spec.borrow_from),
        max_loans=spec.max_loans,
        borrow_at=Pressure(read.parse_number(spec.borrow_at_pressure)),
        return_after=read.parse_duration(spec.return_after),
        units_per_gpu=UnitsPerSecond(read.parse_number(guess) / 60.0) if guess else None,
        replicas=spec.replicas,
        priority=spec.priority,
        weight=spec.weight,
        order=spec.order,
        forecast=spec.forecast,
        calendar=tuple(Booking(window=_window(one, WindowAction.ALLOW), least=one.min_loans) for one in spec.calendar),
    )


def _eviction(spec: EvictionSpec) -> Eviction:
    return Eviction(
        notice=read.parse_duration(spec.notice),
        minimum_runtime=read.parse_duration(spec.minimum_runtime),
        deadline=read.parse_duration(spec.deadline),
        on_deadline=OnDeadline(spec.on_deadline),
        loses_local_data=spec.local_data is Sacrifice.LOSE,
        fails_jobs=spec.last_retry is Sacrifice.LOSE,
    )


def _bounds(spec: EvictionSpec) -> HarmBounds:
    return HarmBounds(per_gpu=read.parse_duration(spec.max_loss_per_gpu), nodes_at_once=spec.max_at_once)


def _lending(spec: LendingSpec) -> Lending:
    count, share = (spec.floor, Share(0.0)) if isinstance(spec.floor, int) else (0, read.parse_share(spec.floor))
    return Lending(
        floor=count,
        floor_share=share,
        max_loans=spec.max_loans,
        max_duration=read.parse_duration(spec.max_loan_duration),
        borrower_labels=spec.borrowers.namespace_selector.match_labels,
        eviction=_eviction(spec.eviction) if spec.eviction else None,
        bounds=_bounds(spec.eviction) if spec.eviction else HarmBounds(),
        windows=tuple(_window(one, WindowAction(one.action)) for one in spec.windows),
    )


def _window(spec: RecurringSpec, action: WindowAction) -> Window:
    lasts = read.parse_duration(spec.duration)
    return Window(action=action, schedule=spec.schedule, duration=lasts, time_zone=spec.time_zone)
