"""The standard conditions of a policy, each with a reason that programs may rely on and a next step for people."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from meltguard.api.conditions import Condition, ConditionStatus
from meltguard.api.policy_status import HistoryEntry
from meltguard.api.store_state import told
from meltguard.controller.enforcer import Enforcement
from meltguard.core.decision import Decision, Outcome
from meltguard.core.explain import signal_text
from meltguard.core.fleet import MoveStep
from meltguard.core.loan_rules import MOST_NAMED
from meltguard.core.policy import Mode, Policy, TierState
from meltguard.core.replicas import scale_conflict
from meltguard.core.seen import Snapshot
from meltguard.core.units import NodeName
from meltguard.core.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Everything that a status is made of."""

    policy: Policy
    generation: int
    seen: Snapshot
    decision: Decision
    enforcement: Enforcement
    now: str  # RFC 3339
    waits: Mapping[NodeName, str] = field(default_factory=dict)  # what a claimed node is waiting for
    history: tuple[HistoryEntry, ...] = ()


def conditions(this: Pass) -> tuple[Condition, ...]:
    """Ready, MetricsAvailable, Throttling, CapacityBorrowed, BorrowingBlocked, Enforced, QuotasCounted, Stalled."""
    stalled = _stalled(this)
    metrics = _metrics(this)
    enforced = _enforced(this)
    return (
        _ready(this, (stalled, metrics, enforced)),
        metrics,
        _throttling(this),
        _borrowed(this),
        _blocked(this),
        enforced,
        _quotas(this),
        stalled,
    )


def _condition(this: Pass, what: str, status: ConditionStatus, said: tuple[str, str]) -> Condition:
    return Condition(
        type=what,
        status=status,
        observed_generation=this.generation,
        last_transition_time=this.now,
        reason=said[0],
        message=said[1],
    )


def _yes_no(this: Pass, what: str, said: tuple[str, str], *, holds: bool) -> Condition:
    return _condition(this, what, ConditionStatus.TRUE if holds else ConditionStatus.FALSE, said)


def _ready(this: Pass, parts: Sequence[Condition]) -> Condition:
    stalled, metrics, enforced = parts
    if stalled.status is ConditionStatus.TRUE:
        return _yes_no(this, "Ready", (stalled.reason, stalled.message), holds=False)
    for part in (metrics, enforced):
        if part.status is not ConditionStatus.TRUE and this.policy.mode is Mode.ENFORCE:
            return _yes_no(this, "Ready", (part.reason, part.message), holds=False)
    return _yes_no(this, "Ready", ("Decided", this.decision.why), holds=True)


def _metrics(this: Pass) -> Condition:
    unknown = [signal for signal in this.decision.signals if signal.pressure is None and signal.name != "demand"]
    doubts = this.decision.doubts
    if not unknown and doubts:
        more = f"; {len(doubts) - MOST_NAMED} more" if len(doubts) > MOST_NAMED else ""
        text = f"{'; '.join(doubts[:MOST_NAMED])}{more}; counted as not answering. Look at these pods' agents"
        return _yes_no(this, "MetricsAvailable", ("AgentDoubted", text), holds=False)
    if not unknown:
        said = ", ".join(signal_text(signal) for signal in this.decision.signals)
        return _yes_no(this, "MetricsAvailable", ("Fresh", said), holds=True)
    text = "; ".join(signal_text(signal) for signal in unknown)
    text += ". Until then no node is borrowed and no limit is loosened by these; check spec.metrics and the source"
    return _yes_no(this, "MetricsAvailable", ("SignalUnknown", text), holds=False)


def _throttling(this: Pass) -> Condition:
    limited = [limit for limit in this.decision.limits if limit.state is not TierState.OPEN]
    if not limited:
        return _yes_no(this, "Throttling", ("Open", "no tier is limited"), holds=False)
    text = "; ".join(f"{limit.tier}: {limit.state}, {limit.cause}" for limit in limited)
    return _yes_no(this, "Throttling", ("TiersLimited", text), holds=True)


def _borrowed(this: Pass) -> Condition:
    steps = [node.claim.step for node in this.seen.loans if node.claim]
    if not steps:
        return _yes_no(this, "CapacityBorrowed", ("NoLoan", "no node is on loan"), holds=False)
    said = f"{counted(len(steps), 'node')} claimed, {steps.count(MoveStep.LENT)} open"
    return _yes_no(this, "CapacityBorrowed", ("OnLoan", said), holds=True)


def _blocked(this: Pass) -> Condition:
    """Why a wanted loan is not made: a budget that never allows an eviction is another matter than one that waits."""
    refused = refused_loan(this.decision.rules)
    if refused is None:
        return _yes_no(this, "BorrowingBlocked", ("NotBlocked", "no loan is wanted that is refused"), holds=False)
    reason = refused.reason or "".join(word.capitalize() for word in re.findall(r"\w+", refused.rule))
    return _yes_no(this, "BorrowingBlocked", (reason, f"{refused.rule}: no; {refused.text}"), holds=True)


def _enforced(this: Pass) -> Condition:
    done = this.enforcement
    if this.policy.mode is Mode.SHADOW:
        return _yes_no(this, "Enforced", ("Shadow", "agents count what they would refuse"), holds=False)
    if done.pods == 0:
        text = "no serving pod is Ready; look at the workload and at spec.service.selector"
        return _yes_no(this, "Enforced", ("NoServingPods", text), holds=False)
    if done.acknowledged < done.pods:
        first = done.laggards[0] if done.laggards else None
        why = f": {first.pod} {first.cause}" if first else ""
        text = f"{done.acknowledged} of {done.pods} pods acknowledged{why}"
        return _yes_no(this, "Enforced", ("Lagging", text), holds=False)
    return _yes_no(this, "Enforced", ("Acknowledged", f"all {done.pods} pods acknowledged"), holds=True)


def _quotas(this: Pass) -> Condition:
    """Whether agents can count quotas; what keeps most of those that cannot comes first."""
    stores = this.enforcement.stores
    failing = sorted((state for state in stores if not state.counts), key=lambda state: (-stores[state], state))
    if failing:
        first = failing[0]
        text = (
            f"{this.enforcement.stores_down} of {this.enforcement.pods} pods refuse tiers with a quota, "
            f"the others go on: {told(first)}"
        )
        also = ", ".join(f"{state} at {stores[state]}" for state in failing[1:])
        reason = "Store" + "".join(part.capitalize() for part in first.split("-"))
        return _yes_no(this, "QuotasCounted", (reason, f"{text}; also {also}" if also else text), holds=False)
    if not any(tier.quota for tier in this.policy.tiers):
        return _yes_no(this, "QuotasCounted", ("NoQuota", "no tier has a quota"), holds=True)
    return _yes_no(this, "QuotasCounted", ("Counted", "all pods that answer can count quotas"), holds=True)


def _stalled(this: Pass) -> Condition:
    """Only what a person must mend."""
    other = scale_conflict(this.policy, this.decision.memory, this.seen.loans, this.seen.workload)
    if other:
        text = (
            f"the workload's replicas are also set by {other}, so we leave them alone and lent nodes may stay empty; "
            "end that, or set capacity.replicas to Others to hand them over"
        )
        return _yes_no(this, "Stalled", ("ScaleConflict", text), holds=True)
    if this.seen.plan.problem:
        text = f"an entry of spec.capacity.calendar asks for nothing: {this.seen.plan.problem}; correct it"
        return _yes_no(this, "Stalled", ("CalendarInvalid", text), holds=True)
    trouble = pool_trouble(this.policy, this.seen)
    if trouble is not None:
        return _yes_no(this, "Stalled", trouble, holds=True)
    return _yes_no(this, "Stalled", ("Progressing", "nothing waits for a person"), holds=False)


def pool_trouble(policy: Policy, seen: Snapshot) -> tuple[str, str] | None:
    """What is wrong with the policy's pools: reason and text; None where all is well."""
    if policy.capacity is None:
        return None
    for name in (policy.capacity.pool, *policy.capacity.borrow_from):
        if name not in seen.pools:
            return (
                "PoolMissing",
                f"there is no GPUPool {name}; create it, or correct spec.capacity",
            )
    for name in policy.capacity.borrow_from:
        lending = seen.pools[name].pool.lending
        if lending is None:
            return (
                "PoolDoesNotLend",
                f"GPUPool {name} has no spec.lending; ask its owners",
            )
        if not lending.borrower_labels.items() <= seen.namespace_labels.items():
            wanted = ",".join(f"{key}={value}" for key, value in sorted(lending.borrower_labels.items()))
            text = f"GPUPool {name} lends to namespaces labelled {wanted}; {policy.namespace} is not. Ask its owners"
            return "NotABorrower", text
    contested = {str(node) for pool in seen.pools.values() for node in pool.contested}
    if contested:
        text = f"nodes {', '.join(sorted(contested)[:5])} match two GPUPools and belong to none; correct labels"
        return "PoolsOverlap", text
    return None


def refused_loan(rules: Sequence[Outcome]) -> Outcome | None:
    """The rule that keeps a wanted loan back; None where none was wanted or none was refused."""
    refused = [outcome for outcome in rules if not outcome.holds]
    quiet = {"pressure is high", "GPUs are missing", "shortage lasts", "policy has room"}
    return refused[0] if refused and refused[0].rule not in quiet else None
