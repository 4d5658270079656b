"""From a pass to the policy's status."""

from typing import Final

from meltguard.api.conditions import with_conditions
from meltguard.api.levels import LevelName
from meltguard.api.memory import write_memory
from meltguard.api.policy_status import (
    ActiveOverride,
    DecisionStatus,
    FeatureStatus,
    Laggard,
    LimitStatus,
    LoanStatus,
    PolicyStatus,
    RolloutStatus,
    RuleOutcome,
    SignalStatus,
)
from meltguard.clock import rfc3339
from meltguard.controller.books import write_stopped
from meltguard.controller.conditions import Pass, conditions
from meltguard.controller.trial_status import trial_status
from meltguard.core.decision import FeatureShare, SignalPressure, TierLimit
from meltguard.core.explain import signal_text
from meltguard.core.fleet import NodeView
from meltguard.core.next_move import next_move
from meltguard.core.policy import Override
from meltguard.core.rollout_state import Rollouts
from meltguard.core.units import Epoch, Instant
from meltguard.core.wording import per_minute


def policy_status(this: Pass, before: PolicyStatus, epoch: Epoch, last_change: Instant) -> PolicyStatus:
    """The whole status; conditions keep the time of their last change."""
    decision = this.decision
    messages = {tier.name: tier.message for tier in this.policy.tiers}
    return PolicyStatus(
        observed_generation=this.generation,
        conditions=with_conditions(before.conditions, conditions(this)),
        mode=this.policy.mode,
        level=LevelName(decision.level.label),
        level_since=rfc3339(decision.level_since),
        level_lifts_when=decision.level_lifts or None,
        pressure="unknown" if decision.pressure is None else f"{decision.pressure:.2f}",
        why=decision.why,
        last_change=rfc3339(last_change),
        epoch=epoch,
        revision=this.enforcement.revision,
        acknowledged=f"{this.enforcement.acknowledged}/{this.enforcement.pods}",
        signals=tuple(_signal(signal) for signal in decision.signals),
        limits=tuple(_limit(limit, messages[limit.tier]) for limit in decision.limits),
        features=tuple(_feature(one) for one in decision.features),
        rollouts=None if decision.rollouts is None else _rollouts(decision.rollouts),
        loan_count=len(this.seen.loans),
        loans=tuple(_loan(node, this.waits.get(node.name)) for node in this.seen.loans),
        laggards=tuple(
            Laggard(pod=one.pod, cause=one.cause, since=rfc3339(Instant(decision.at - one.lasting)))
            for one in this.enforcement.laggards
        ),
        overrides=tuple(_override(one) for one in decision.overrides),
        decision=_decision(this),
        history=this.history,
        replicas_found=decision.memory.replicas_found,
        memory=write_memory(decision.memory),
    )


OPTIONAL: Final = (
    "replicasFound",
    "levelLiftsWhen",
    "decision",
    "memory",
    "laggards",
    "overrides",
    "loans",
    "features",
    "rollouts",
)
"""Keys that a pass may leave out: a merge patch must clear them."""


def status_patch(status: PolicyStatus) -> dict[str, object]:
    """What a merge patch is told: what is not said any more is cleared, also inside the parts that are no lists."""
    body: dict[str, object] = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    parts = {"decision": status.decision, "rollouts": status.rollouts}
    whole = {key: part.model_dump(mode="json", by_alias=True) for key, part in parts.items() if part is not None}
    return {**dict.fromkeys(OPTIONAL), **body, **whole}


def _signal(signal: SignalPressure) -> SignalStatus:
    known = signal.pressure is not None
    return SignalStatus(
        name=signal.name,
        value=signal_text(signal).removeprefix(f"{signal.name} ") if known else None,
        pressure=f"{signal.pressure:.2f}" if known else None,
        age_seconds=round(signal.age) if known else None,
        unknown=None if known else signal.problem,
    )


def _limit(limit: TierLimit, message: str) -> LimitStatus:
    limited = bool(limit.cause)
    return LimitStatus(
        tier=limit.tier,
        state=limit.state,
        rate=per_minute(limit.rate),
        demand=per_minute(limit.demand),
        since=None if limit.since is None else rfc3339(limit.since),
        cause=limit.cause if limited else None,
        lifts_when=limit.lifts_when if limited else None,
        until=None if limit.until is None else rfc3339(limit.until),
        message=message if limited and message else None,
    )


def _feature(one: FeatureShare) -> FeatureStatus:
    return FeatureStatus(
        name=one.name,
        rollout=f"{one.share}%",
        since=None if one.since is None else rfc3339(one.since),
        cause=one.cause or None,
        lifts_when=one.lifts_when or None,
        until=None if one.until is None else rfc3339(one.until),
    )


def _rollouts(held: Rollouts) -> RolloutStatus:
    return RolloutStatus(
        state=held.state,
        since=None if held.since is None else rfc3339(held.since),
        cause=held.cause or None,
        lifts_when=held.lifts_when or None,
        trial=trial_status(held),
    )


def _loan(node: NodeView, waits_for: str | None) -> LoanStatus:
    claim = node.claim
    if claim is None:
        raise ValueError(f"{node.name} bears no claim")
    return LoanStatus(
        node=node.name,
        home=claim.home,
        step=claim.step,
        since=rfc3339(claim.since),
        promised_return=rfc3339(claim.due),
        why=claim.told_why or None,
        waits_for=waits_for,
        stopped=write_stopped(claim.stopped),
    )


def _override(one: Override) -> ActiveOverride:
    return ActiveOverride(sets=one.sets, until=rfc3339(one.until), reason=one.reason, by=one.by or None)


def _decision(this: Pass) -> DecisionStatus:
    decision = this.decision
    move = next_move(decision.rules)
    return DecisionStatus(
        at=rfc3339(decision.at),
        ready_pods=this.seen.ready_pods,
        answering_pods=len(this.seen.loads),
        demand=per_minute(sum(limit.demand for limit in decision.limits)),
        capacity=None if decision.capacity is None else per_minute(decision.capacity),
        budget=None if decision.budget is None else per_minute(decision.budget),
        rules=tuple(RuleOutcome(rule=one.rule, holds=one.holds, text=one.text) for one in decision.rules),
        next_change=decision.next_change,
        unblocked_by=move.waits_for or None,
        possible_from=None if move.at is None else rfc3339(move.at),
    )
