"""What makes a status worth writing at once."""

import math

from meltguard.controller.conditions import refused_loan
from meltguard.controller.enforcer import Enforcement
from meltguard.core.decision import Decision
from meltguard.core.seen import Snapshot

LIMIT_CHANGE = 0.05
LEAST = -10_000


def marks_of(decision: Decision, seen: Snapshot, enforcement: Enforcement) -> tuple[object, ...]:
    """What makes a status worth writing at once: level, loans, who acknowledged, each measure (limits: by 5 %)."""
    loans = tuple((node.name, node.claim.step) for node in seen.loans if node.claim)
    limits = tuple((limit.tier, limit.state, _coarse(limit.rate)) for limit in decision.limits)
    acknowledged = (enforcement.acknowledged, enforcement.pods)
    unknown = tuple(signal.name for signal in decision.signals if signal.pressure is None)
    refused = refused_loan(decision.rules)
    blocked = None if refused is None else (refused.rule, refused.reason)
    slowed = tuple((one.name, one.share) for one in decision.features)
    held = decision.rollouts
    trial = held.trial if held is not None else None
    updates = None if held is None else (held.state, (trial.stage, trial.pods) if trial is not None else None)
    words = tuple(one.sets for one in decision.overrides)
    return (decision.level, loans, limits, acknowledged, unknown, blocked, slowed, updates, words)


def _coarse(rate: float | None) -> int | None:
    """Rates within five per cent of one another mostly share a number."""
    if rate is None or rate <= 0:
        return None if rate is None else LEAST
    return round(math.log(rate) / math.log(1.0 + LIMIT_CHANGE))
