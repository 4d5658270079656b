"""Statuses that use every field."""

from typing import Final

from meltguard.api.conditions import Condition, ConditionStatus
from meltguard.api.levels import LevelName
from meltguard.api.policy_status import (
    ActiveOverride,
    DecisionStatus,
    FeatureStatus,
    Laggard,
    LimitStatus,
    LoanStatus,
    PolicyStatus,
    RuleOutcome,
    SignalStatus,
)
from meltguard.api.pool_status import NodeCounts, PoolLoan, PoolStatus
from meltguard.core.fleet import MoveStep
from meltguard.core.policy import Mode, TierState

AT: Final = "2026-11-23T10:00:00Z"
DUE: Final = "2026-11-24T10:00:00Z"


def a_condition(kind: str = "Ready", status: ConditionStatus = ConditionStatus.TRUE, at: str = AT) -> Condition:
    """A sound condition."""
    return Condition(
        type=kind,
        status=status,
        observed_generation=1,
        last_transition_time=at,
        reason="AllWell",
        message="every ready pod has the limits",
    )


def a_policy_status() -> PolicyStatus:
    """An overloaded service with a loan on the way."""
    return PolicyStatus(
        observed_generation=1,
        conditions=(a_condition(), a_condition("Throttling")),
        mode=Mode.ENFORCE,
        level=LevelName.OVERLOADED,
        level_since=AT,
        level_lifts_when="pressure below 0.84 lasts for 60 s: Elevated then",
        pressure="1.31",
        why="Overloaded: wait 6.1 s; free rejected to 31/m; nodes: 1 arriving",
        last_change=AT,
        epoch=3,
        revision=41,
        acknowledged="31/32",
        signals=(
            SignalStatus(name="wait", value="6.1 s", pressure="1.13", age_seconds=1),
            SignalStatus(name="temperature", unknown="stale: measured 90 s ago"),
        ),
        limits=_limits(),
        features=_features(),
        loan_count=1,
        loans=(
            LoanStatus(
                node="gpu-7",
                home="research",
                step=MoveStep.CORDONED,
                since=AT,
                promised_return=DUE,
                why="3 GPUs are missing for a demand of 400/m",
                waits_for="the node is not Ready or shows no GPU to allocate",
            ),
        ),
        laggards=(Laggard(pod="image-gen-7", cause="no answer", since=AT),),
        overrides=(ActiveOverride(sets="plus: 120/m", until=DUE, reason="launch day", by="ada"),),
        decision=_decision(),
        replicas_found=24,
        memory='{"level":2}',
    )


def _features() -> tuple[FeatureStatus, ...]:
    return (
        FeatureStatus(
            name="image-edit",
            rollout="5%",
            since=AT,
            cause="level Overloaded (pressure 1.31) leaves feature image-edit to 5% of users instead of 100%",
            lifts_when="the level falls to Elevated: pressure below 0.84 for 60 s; 50% of users then",
        ),
    )


def _limits() -> tuple[LimitStatus, ...]:
    return (
        LimitStatus(
            tier="free",
            state=TierState.REJECT,
            rate="31/m",
            demand="300/m",
            since=AT,
            cause="demand 400/m is more than the GPUs' 320/m; tier free gives way",
            lifts_when="demand falls below 320/m, or nodes arrive; "
            "then the limit rises to 375/m, 1.25 times the tier's demand",
            message="Free images pause while demand is high.",
        ),
        LimitStatus(tier="pro", state=TierState.OPEN, rate="none"),
    )


def _decision() -> DecisionStatus:
    return DecisionStatus(
        at=AT,
        ready_pods=32,
        answering_pods=31,
        demand="400/m",
        capacity="320/m",
        budget="300/m",
        rules=(RuleOutcome(rule="agents answer", holds=True, text="31 of 32"),),
        next_change="Overloaded steps down once pressure below 0.84 lasts for 60 s more",
        unblocked_by="a fresh temperature",
        possible_from=DUE,
    )


def a_pool_status() -> PoolStatus:
    """A pool with one node lent."""
    return PoolStatus(
        observed_generation=1,
        conditions=(a_condition(),),
        nodes=NodeCounts(total=8, ready=6, lent=1, floor=4),
        lendable=2,
        loans=(PoolLoan(node="gpu-7", policy="serving/image-gen", step=MoveStep.LENT, since=AT, promised_return=DUE),),
        why="lends 1 of 4; 2 more could go",
    )
