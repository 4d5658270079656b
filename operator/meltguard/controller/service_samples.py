"""From a policy's last pass, and a pool's status, to samples of the metric families."""

from collections import Counter
from typing import Final, Protocol

from meltguard.api.conditions import Condition, ConditionStatus
from meltguard.api.pool_status import PoolStatus
from meltguard.api.provider_status import ProviderStatus
from meltguard.controller.conditions import refused_loan
from meltguard.controller.enforcer import Enforcement
from meltguard.controller.events import Reason
from meltguard.controller.families import Samples
from meltguard.controller.telling import CHANGES
from meltguard.controller.troubles import TOLD
from meltguard.core.comparison import Compared
from meltguard.core.decision import Decision
from meltguard.core.fleet import MoveStep
from meltguard.core.policy import Mode, Policy, TierState
from meltguard.core.rollout_state import RolloutState
from meltguard.core.seen import Snapshot, TrialStage
from meltguard.core.trial import FEWEST

UNKNOWN = float("nan")
OPEN = float("inf")


class Pass(Protocol):
    """What is known of one service."""

    policy: Policy
    decision: Decision
    seen: Snapshot
    enforcement: Enforcement
    conditions: tuple[Condition, ...]
    told: Counter[Reason]
    unknown: Counter[str]


def add(to: Samples, this: Pass) -> None:
    """Everything about one policy."""
    service = (this.policy.namespace, this.policy.name)
    decision = this.decision
    to.add("level", service, int(decision.level))
    to.add("pressure", service, UNKNOWN if decision.pressure is None else decision.pressure)
    to.one_of("mode", service, str(this.policy.mode), [str(mode) for mode in Mode])
    to.add("capacity_units_per_second", service, decision.capacity or 0.0)
    to.add("overrides", service, len(decision.overrides))
    _updates(to, this, service)
    for feature in decision.features:
        to.add("feature_share_ratio", (*service, feature.name), feature.share / 100.0)
    for signal in decision.signals:
        to.add("signal_pressure", (*service, signal.name), UNKNOWN if signal.pressure is None else signal.pressure)
        to.add("signal_age_seconds", (*service, signal.name), signal.age)
        to.add("signal_unknown_total", (*service, signal.name), this.unknown.get(signal.name, 0))
    _tiers(to, this, service)
    _pods(to, this, service)
    _loans(to, this, service)
    _said(to, this, service)


def _updates(to: Samples, this: Pass, service: tuple[str, str]) -> None:
    rollouts, usual = this.decision.rollouts, this.decision.memory.loading.usual
    held = rollouts is not None and rollouts.state is RolloutState.HELD
    to.add("rollout_held", service, float(held))
    trial = rollouts.trial if rollouts is not None else None
    to.one_of("update_trial", service, "" if trial is None else trial.stage.value, [one.value for one in TrialStage])
    to.add("pod_start_seconds", service, UNKNOWN if usual is None else usual)
    found = rollouts.figures if rollouts is not None else None
    _costs(to, found or Compared(), service)


def _costs(to: Samples, found: Compared, service: tuple[str, str]) -> None:
    told = found.whole.count >= FEWEST
    for bound, change in zip(("least", "mean", "most"), found.whole.change, strict=True):
        to.add("update_cost_ratio", (*service, bound), 1.0 + change if told else UNKNOWN)
    for revision, spent in found.spent:
        to.add("revision_images_per_gpu_second", (*service, revision), UNKNOWN if spent.rate is None else spent.rate)


def _tiers(to: Samples, this: Pass, service: tuple[str, str]) -> None:
    for one in this.policy.tiers:
        to.add("tier_priority", (*service, one.name), one.priority)
    for limit in this.decision.limits:
        tier = (*service, limit.tier)
        every = (*this.seen.loads, *this.seen.overloaded)
        loads = [load.tiers[limit.tier] for load in every if limit.tier in load.tiers]
        to.add("demand_units_per_second", tier, limit.demand)
        to.add("limit_units_per_second", tier, OPEN if limit.rate is None else limit.rate)
        to.add("admitted_units_per_second", tier, sum(load.admitted for load in loads))
        to.add("waiting_units", tier, sum(load.waiting for load in loads))
        to.add("wait_p99_seconds", tier, max((load.wait_p99 for load in loads), default=0.0))
        to.one_of("tier_state", tier, limit.state.value, [state.value for state in TierState])


def _pods(to: Samples, this: Pass, service: tuple[str, str]) -> None:
    done = this.enforcement
    to.add("serving_pods", service, done.pods)
    to.add("acknowledged_pods", service, done.acknowledged)
    to.add("laggards", service, len(done.laggards))
    to.add("push_failures_total", service, done.failures)
    to.add("quota_store_down_pods", service, done.stores_down)
    gpus = sum(load.gpus for load in this.seen.loads)
    busy = sum(load.busy * load.gpus for load in this.seen.loads)
    to.add("gpu_busy_ratio", service, busy / gpus if gpus else 0.0)


def _loans(to: Samples, this: Pass, service: tuple[str, str]) -> None:
    claims = [node.claim for node in this.seen.loans if node.claim]
    for step in MoveStep:
        to.add("loans", (*service, step.value), sum(claim.step is step for claim in claims))
    to.add("loans_overdue", service, sum(claim.due < this.decision.at for claim in claims))
    refused = refused_loan(this.decision.rules)
    for rule in this.decision.rules:
        to.add("borrowing_blocked", (*service, rule.rule), float(refused is not None and rule.rule == refused.rule))


def _said(to: Samples, this: Pass, service: tuple[str, str]) -> None:
    for reason in (*CHANGES, *TOLD):
        to.add("decisions_total", (*service, reason.value), this.told.get(reason, 0))
    for one in this.conditions:
        to.one_of("condition", (*service, one.type), one.status.value, [status.value for status in ConditionStatus])


def add_pool(to: Samples, name: str, status: PoolStatus) -> None:
    """Everything about one pool."""
    nodes, books = status.nodes, status.ledger
    if nodes is not None:
        counts = {"total": nodes.total, "ready": nodes.ready, "lent": nodes.lent, "floor": nodes.floor}
        for kind, count in counts.items():
            to.add("pool_nodes", (name, kind), count)
    to.add("pool_lendable_nodes", (name,), status.lendable or 0)
    to.add("pool_gpu_hours_lent_total", (name,), float(status.gpu_hours_lent or 0.0))
    to.add("pool_work_lost_gpu_hours_total", (name,), float(books.work_lost) if books is not None else 0.0)
    _provider(to, name, status.provider or NO_ORDERS)


NO_ORDERS: Final = ProviderStatus(
    on_order=0,
    here=0,
    available=0,
    spent_today="0",
    spent_this_month="0",
    failures=0,
    ordered=0,
    arrived=0,
    failed=0,
)
"""Of a pool that nobody makes larger, or whose first order is to come: its series start at zero."""


def _provider(to: Samples, pool: str, status: ProviderStatus) -> None:
    for result, count in (("ordered", status.ordered), ("arrived", status.arrived), ("failed", status.failed)):
        to.add("provider_orders_total", (pool, result), count)
    to.add("provider_nodes", (pool, "on-order"), status.on_order)
    to.add("provider_nodes", (pool, "here"), status.here)
    to.add("provider_spend", (pool, "day"), float(status.spent_today))
    to.add("provider_spend", (pool, "month"), float(status.spent_this_month))
    to.add("provider_blocked", (pool,), float(bool(status.reason)))
