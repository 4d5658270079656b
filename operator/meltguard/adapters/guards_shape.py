"""Disruption budgets and Jobs on the wire: what stands between running pods and an eviction."""

from typing import Final

import msgspec

from meltguard.adapters.object_shape import Metadata
from meltguard.core.fleet import Budget, Job
from meltguard.core.service import Comparison, Requirement, Selector

NO_BACKOFF: Final = 6
"""Kubernetes' own default for a Job's backoffLimit."""


class Expression(msgspec.Struct, frozen=True):
    """One condition of a label selector."""

    key: str
    operator: str
    values: tuple[str, ...] | None = None


class SelectorShape(msgspec.Struct, frozen=True, rename="camel"):
    """A label selector."""

    match_labels: dict[str, str] | None = None
    match_expressions: tuple[Expression, ...] | None = None


class BudgetCondition(msgspec.Struct, frozen=True):
    """What the disruption controller says."""

    type: str
    status: str
    reason: str = ""


class BudgetSpec(msgspec.Struct, frozen=True, rename="camel"):
    """What its owner asks for."""

    selector: SelectorShape | None = None
    min_available: int | str | None = None
    max_unavailable: int | str | None = None


class BudgetStatus(msgspec.Struct, frozen=True, rename="camel"):
    """What holds now."""

    disruptions_allowed: int = 0
    expected_pods: int = 0
    observed_generation: int = 0
    conditions: tuple[BudgetCondition, ...] | None = None


class BudgetMetadata(Metadata, frozen=True, rename="camel"):
    """Who it is, and which edit of it."""

    generation: int = 0


class BudgetShape(msgspec.Struct, frozen=True):
    """A PodDisruptionBudget."""

    metadata: BudgetMetadata
    spec: BudgetSpec = BudgetSpec()
    status: BudgetStatus = BudgetStatus()


class OnPodCondition(msgspec.Struct, frozen=True):
    """Which condition of a failed pod a rule is about."""

    type: str
    status: str = "True"


class FailureRule(msgspec.Struct, frozen=True, rename="camel"):
    """What a Job does about some failures."""

    action: str
    on_pod_conditions: tuple[OnPodCondition, ...] | None = None


class FailurePolicy(msgspec.Struct, frozen=True):
    """A Job's podFailurePolicy."""

    rules: tuple[FailureRule, ...] = ()


class JobSpec(msgspec.Struct, frozen=True, rename="camel"):
    """What a Job asks for."""

    backoff_limit: int | None = None
    backoff_limit_per_index: int | None = None
    pod_failure_policy: FailurePolicy | None = None


class JobStatus(msgspec.Struct, frozen=True):
    """How a Job fares."""

    failed: int = 0


class JobShape(msgspec.Struct, frozen=True):
    """A Job."""

    metadata: Metadata
    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()


_BUDGETS: Final = msgspec.json.Decoder(BudgetShape)
_JOBS: Final = msgspec.json.Decoder(JobShape)


def read_budget(raw: msgspec.Raw | bytes) -> Budget:
    """A budget's JSON as a view; msgspec.DecodeError where it is none. One that was just edited allows nothing yet."""
    budget = _BUDGETS.decode(raw)
    metadata, status = budget.metadata, budget.status
    settled = status.observed_generation >= metadata.generation
    return Budget(
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        selector=_selector(budget.spec.selector),
        allowed=status.disruptions_allowed if settled else 0,
        never=_never(budget) if settled else "",
    )


def read_job(raw: msgspec.Raw | bytes) -> Job:
    """A Job's JSON as a view; msgspec.DecodeError where it is none."""
    job = _JOBS.decode(raw)
    spec = job.spec
    limit = NO_BACKOFF if spec.backoff_limit is None else spec.backoff_limit
    left = max(0, limit - job.status.failed)
    per_index = spec.backoff_limit_per_index
    return Job(
        namespace=job.metadata.namespace,
        name=job.metadata.name,
        uid=job.metadata.uid,
        failures_left=left if per_index is None else min(left, per_index),
        forgives_disruption=_forgives(spec.pod_failure_policy),
    )


def _forgives(policy: FailurePolicy | None) -> bool:
    """Rules are read in order; the first that is about evictions decides."""
    for rule in policy.rules if policy else ():
        if any(on.type == "DisruptionTarget" and on.status == "True" for on in rule.on_pod_conditions or ()):
            return rule.action == "Ignore"
    return False


def _never(budget: BudgetShape) -> str:
    spec, status = budget.spec, budget.status
    if spec.max_unavailable in {0, "0%"}:
        return f"its maxUnavailable is {spec.max_unavailable}; allow at least 1"
    if spec.min_available == "100%":
        return "its minAvailable is 100%; leave room for one pod"
    if isinstance(spec.min_available, int) and 0 < status.expected_pods <= spec.min_available:
        return f"its minAvailable is {spec.min_available} of {status.expected_pods} pods; leave room for one"
    for condition in status.conditions or ():
        if condition.type == "DisruptionAllowed" and condition.reason == "SyncFailed":
            return (
                "Kubernetes cannot count its pods (SyncFailed: their owner has no scale, as a Job's pods); "
                "use minAvailable with a number instead of maxUnavailable"
            )
    return ""


def _selector(shape: SelectorShape | None) -> Selector | None:
    if shape is None:
        return None
    return Selector(
        labels=shape.match_labels or {},
        requirements=tuple(
            Requirement(key=one.key, comparison=Comparison(one.operator), values=frozenset(one.values or ()))
            for one in shape.match_expressions or ()
        ),
    )
