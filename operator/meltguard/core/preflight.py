"""Whether all pods of a node can leave, asked before anybody is told and again behind the cordon."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from meltguard.core.fleet import Budget, Guards, Job, NodeView, PodView
from meltguard.core.guarded import Guarded, is_meant
from meltguard.core.policy import Eviction
from meltguard.core.units import Instant, PodUid


class ObstacleReason(StrEnum):
    """Reasons are part of the interface: they show in conditions."""

    UNOWNED = "Unowned"
    DO_NOT_DISRUPT = "DoNotDisrupt"
    LOCAL_DATA = "LocalData"
    MINIMUM_RUNTIME = "MinimumRuntime"
    GRACE_TOO_LONG = "GraceTooLong"
    TWO_BUDGETS = "TwoBudgets"
    BUDGET_UNSATISFIABLE = "BudgetUnsatisfiable"
    BUDGET_EXHAUSTED = "BudgetExhausted"
    WOULD_FAIL_JOB = "WouldFailJob"


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """One pod that cannot leave, and why."""

    pod: str  # namespace/name
    reason: ObstacleReason
    text: str  # with the next step
    lasting: bool  # waiting does not help


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """The pods of one node that would have to go, and what stands in their way."""

    pods: tuple[PodView, ...]
    budgets: Mapping[PodUid, tuple[Budget, ...]]  # of each pod; several are an error of the Eviction API
    eviction: Eviction
    guards: Guarded
    now: Instant


Check = Callable[[Leaving, PodView], Obstacle | None]


def obstacles(node: NodeView, eviction: Eviction, guards: Guards, now: Instant) -> tuple[Obstacle, ...]:
    """Every reason why the node's movable pods cannot all leave on the pool's terms; none where they can.

    Pods that are terminating already go by themselves.
    """
    return obstacles_among(node, eviction, Guarded.by(guards), now)


def obstacles_among(node: NodeView, eviction: Eviction, guards: Guarded, now: Instant) -> tuple[Obstacle, ...]:
    """The same, where many nodes are asked about."""
    going = tuple(pod for pod in node.movable_pods if not pod.terminating)
    leaving = Leaving(
        pods=going,
        budgets={pod.uid: guards.budgets_of(pod) for pod in going},
        eviction=eviction,
        guards=guards,
        now=now,
    )
    return tuple(found for pod in going for check in CHECKS if (found := check(leaving, pod)) is not None)


def wants_to_stay(pod: PodView, now: Instant) -> str:
    """How its owner asks to leave the pod alone, as the end of a sentence that begins with its name; "" if not."""
    if not pod.keep:
        return ""
    if pod.keep_for is not None and pod.started_at is not None and now - pod.started_at >= pod.keep_for:
        return ""
    return pod.keep


def _unowned(_: Leaving, pod: PodView) -> Obstacle | None:
    if pod.owner_kind:
        return None
    text = "nothing would start it again; let a Job or another controller own it"
    return _obstacle(pod, ObstacleReason.UNOWNED, text, lasting=True)


def _kept(leaving: Leaving, pod: PodView) -> Obstacle | None:
    why = wants_to_stay(pod, leaving.now)
    return _obstacle(pod, ObstacleReason.DO_NOT_DISRUPT, why, lasting=pod.keep_for is None) if why else None


def _with_local_data(leaving: Leaving, pod: PodView) -> Obstacle | None:
    if not pod.local_data or leaving.eviction.loses_local_data:
        return None
    text = "would lose data on the node's disk; use a volume, or set eviction.localData: Lose on the pool"
    return _obstacle(pod, ObstacleReason.LOCAL_DATA, text, lasting=True)


def _too_young(leaving: Leaving, pod: PodView) -> Obstacle | None:
    least = leaving.eviction.minimum_runtime
    ran = 0.0 if pod.started_at is None else max(0.0, leaving.now - pod.started_at)
    if ran >= least:
        return None
    text = f"has run for {ran:.0f} s, the pool grants it {least:.0f} s; wait {least - ran:.0f} s"
    return _obstacle(pod, ObstacleReason.MINIMUM_RUNTIME, text, lasting=False)


def _too_slow(leaving: Leaving, pod: PodView) -> Obstacle | None:
    terms = leaving.eviction
    if terms.notice + pod.grace <= terms.deadline:
        return None
    text = (
        f"may take {pod.grace:.0f} s to end after {terms.notice:.0f} s of notice, the pool's deadline is "
        f"{terms.deadline:.0f} s; extend eviction.deadline or shorten terminationGracePeriodSeconds"
    )
    return _obstacle(pod, ObstacleReason.GRACE_TOO_LONG, text, lasting=True)


def _two_budgets(leaving: Leaving, pod: PodView) -> Obstacle | None:
    budgets = leaving.budgets[pod.uid]
    if len(budgets) < 2:  # noqa: PLR2004 - the check is named after this number
        return None
    names = ", ".join(budget.name for budget in budgets)
    text = f"has {len(budgets)} disruption budgets ({names}), with which Kubernetes evicts nothing; keep one of them"
    return _obstacle(pod, ObstacleReason.TWO_BUDGETS, text, lasting=True)


def _never(leaving: Leaving, pod: PodView) -> Obstacle | None:
    for budget in leaving.budgets[pod.uid]:
        if budget.never:
            text = f"disruption budget {budget.name} can never allow its eviction: {budget.never}"
            return _obstacle(pod, ObstacleReason.BUDGET_UNSATISFIABLE, text, lasting=True)
    return None


def _not_now(leaving: Leaving, pod: PodView) -> Obstacle | None:
    """A budget must bear all evictions of this node together, and those of moves that are under way."""
    for budget in leaving.budgets[pod.uid]:
        asked = sum(is_meant(budget, one) for one in (*leaving.pods, *leaving.guards.pledged))
        if not budget.never and asked > budget.allowed:
            text = f"disruption budget {budget.name} allows {budget.allowed} evictions now, {asked} are needed"
            return _obstacle(pod, ObstacleReason.BUDGET_EXHAUSTED, text, lasting=False)
    return None


def _fails_its_job(leaving: Leaving, pod: PodView) -> Obstacle | None:
    job = leaving.guards.job_of(pod)
    if job is None or leaving.eviction.fails_jobs:
        return None
    together = [one for one in (*leaving.pods, *leaving.guards.pledged) if one.owner_uid == job.uid]
    if not would_fail(job, len(together)):
        return None
    text = (
        f"Job {job.name} may fail {job.failures_left} more pods before it fails as a whole; raise its backoffLimit, "
        "let its podFailurePolicy ignore DisruptionTarget, or set eviction.lastRetry: Lose on the pool"
    )
    return _obstacle(pod, ObstacleReason.WOULD_FAIL_JOB, text, lasting=True)


CHECKS: Final[tuple[Check, ...]] = (
    _unowned,  # nobody would bring it back
    _kept,  # its owner's word
    _with_local_data,
    _too_young,
    _too_slow,  # its grace is its own
    _two_budgets,  # the Eviction API answers 500
    _never,
    _not_now,
    _fails_its_job,
)


def would_fail(job: Job, evictions: int) -> bool:
    """Whether so many evictions end the Job as a whole."""
    return not job.forgives_disruption and evictions > job.failures_left


def _obstacle(pod: PodView, reason: ObstacleReason, text: str, *, lasting: bool) -> Obstacle:
    return Obstacle(pod=f"{pod.namespace}/{pod.name}", reason=reason, text=text, lasting=lasting)
