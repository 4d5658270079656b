"""What a merge patch tells the API server: what holds, and that nothing else holds any more."""

from typing import Any

from meltguard.api.policy_status import DecisionStatus, RolloutStatus, TrialStatus
from meltguard.controller.status import status_patch
from meltguard.core.rollout_state import RolloutState
from meltguard.core.seen import TrialStage
from support.statuses import AT, a_policy_status


def merged(before: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    kept = dict(before) if isinstance(before, dict) else {}
    for key, value in patch.items():
        if value is None:
            kept.pop(key, None)
        else:
            kept[key] = merged(kept.get(key), value)
    return kept


def test_nothing_of_a_hold_that_is_over_stays_in_the_status() -> None:
    trial = TrialStatus(stage=TrialStage.REFUSED, since=AT, pods=1)
    held = RolloutStatus(state=RolloutState.HELD, since=AT, cause="pressed", lifts_when="it falls", trial=trial)
    decision = DecisionStatus(at=AT, ready_pods=2, answering_pods=2, capacity="60/m", unblocked_by="a node")
    before = a_policy_status().model_copy(update={"rollouts": held, "decision": decision})
    free = RolloutStatus(state=RolloutState.FREE)
    silent = DecisionStatus(at=AT, ready_pods=2, answering_pods=0)
    after = before.model_copy(update={"rollouts": free, "decision": silent})
    found = merged(merged({}, status_patch(before)), status_patch(after))
    assert found["rollouts"] == {"state": "Free"}
    assert found["decision"] == {"at": AT, "readyPods": 2, "answeringPods": 0, "rules": []}


def test_parts_that_are_left_out_are_cleared() -> None:
    before = a_policy_status()
    after = before.model_copy(update={"decision": None, "memory": None})
    found = merged(merged({}, status_patch(before)), status_patch(after))
    assert "decision" not in found
    assert "memory" not in found
    assert found["level"] == "Overloaded"
