"""Each step of the ladder says cause, numbers, since and what lifts it: in the status, as an Event, in the document."""

import re
from dataclasses import dataclass, replace

import pytest

from meltguard.api.claim import parse_claim, write_claim
from meltguard.api.grants import document_of
from meltguard.api.limit_document import LimitDocument
from meltguard.api.policy_status import PolicyStatus
from meltguard.controller.conditions import Pass
from meltguard.controller.enforcer import Enforcement
from meltguard.controller.events import Reason
from meltguard.controller.status import policy_status
from meltguard.controller.telling import CHANGES, Said, changes, loan_changes
from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.fleet import Claim, MoveStep
from meltguard.core.granting import Stamp, grant_for
from meltguard.core.loan_words import borrowed_words
from meltguard.core.memory import Memory
from meltguard.core.moves import new_claim
from meltguard.core.policy import Feature, Level, Override, Policy, TierState
from meltguard.core.seen import RolloutView, Snapshot
from meltguard.core.units import Epoch, Instant, NodeName, Percent, PodUid, Revision, UnitsPerSecond
from support.core_values import FREE, PLUS, a_node, a_policy, a_pool, a_snapshot

NOW = Instant(1000.0)
UNTIL = Instant(5000.0)
UNTIL_TEXT = "1970-01-01T01:23:20Z"
EDIT = Feature(
    name="edit", rollout={Level.NORMAL: Percent(100), Level.ELEVATED: Percent(50), Level.CRITICAL: Percent(0)}
)
POLICY = a_policy(features=(EDIT,), hold_at=Level.ELEVATED)
CALM = {FREE: 1.0, PLUS: 1.0}
FREE_VIEW = RolloutView(paused=False, mark=None)


def word(**what: object) -> Override:
    return Override(until=UNTIL, reason="keynote", by="ann", **what)  # type: ignore[arg-type] # any of its fields


@dataclass(frozen=True)
class Told:
    """What was decided, and everything that was said of it."""

    decision: Decision
    said: dict[Reason, str]
    status: PolicyStatus
    document: LimitDocument


def told(policy: Policy, seen: Snapshot, passes: int = 30) -> Told:
    """Some passes over a surge that begins after a calm one, and all that was said in them."""
    quiet = replace(a_snapshot(CALM), rollout=FREE_VIEW)
    decision = decide(replace(policy, overrides=()), Memory(), quiet, NOW)
    said: list[Said] = []
    for number in range(1, passes):
        before, decision = decision, decide(policy, decision.memory, seen, Instant(NOW + 2.0 * number))
        said += changes(before, decision)
    rates = {limit.tier: limit.rate for limit in decision.limits if limit.rate is not None}
    stamp = Stamp(epoch=Epoch(1), revision=Revision(1), at=decision.at)
    return Told(
        decision=decision,
        said=dict(said),
        status=policy_status(a_pass(policy, seen, decision), PolicyStatus(), Epoch(1), decision.at),
        document=document_of(grant_for(policy, decision, (PodUid("pod-0"), 8), rates, stamp)),
    )


def a_pass(policy: Policy, seen: Snapshot, decision: Decision) -> Pass:
    enforcement = Enforcement(revision=Revision(1), pods=8, acknowledged=8, laggards=(), stores={}, ack_times=())
    now = "1970-01-01T00:16:48Z"
    return Pass(
        policy=policy,
        generation=1,
        seen=seen,
        decision=decision,
        enforcement=enforcement,
        now=now,
        waits={},
        history=(),
    )


def surge(units: float, waiting: float) -> Snapshot:
    return replace(a_snapshot({FREE: units, PLUS: 3.0}, {FREE: waiting}), rollout=FREE_VIEW)


STEPS = {
    "a surge, limited": (POLICY, surge(11.0, 40.0)),
    "a surge, refused at once": (POLICY, surge(13.0, 36.0)),
    "a surge, suspended": (POLICY, surge(13.0, 200.0)),
    "a person suspends": (replace(POLICY, overrides=(word(tier=FREE, state=TierState.SUSPEND),)), surge(2.0, 0.0)),
    "a person limits": (replace(POLICY, overrides=(word(tier=FREE, limit=UnitsPerSecond(0.5)),)), surge(2.0, 0.0)),
    "a person sets Critical": (replace(POLICY, overrides=(word(level=Level.CRITICAL),)), surge(2.0, 0.0)),
    "a person sets Overloaded in a surge": (
        replace(POLICY, overrides=(word(level=Level.OVERLOADED),)),
        surge(11.0, 40.0),
    ),
}
NUMBER = re.compile(r"\d")


@pytest.mark.parametrize(("policy", "seen"), STEPS.values(), ids=STEPS)
def test_a_limited_tier_is_explained_everywhere_alike(policy: Policy, seen: Snapshot) -> None:
    found = told(policy, seen)
    (limit,) = (one for one in found.decision.limits if one.tier == FREE)
    (status,) = (one for one in found.status.limits if one.tier == FREE)
    (document,) = (one for one in found.document.tiers if one.name == FREE)
    assert limit.state is not TierState.OPEN
    assert limit.cause
    assert NUMBER.search(limit.cause + limit.lifts_when)
    assert limit.lifts_when
    assert (status.cause, status.lifts_when) == (limit.cause, limit.lifts_when)
    assert status.since
    assert (document.why, document.lifts_when) == (limit.cause, limit.lifts_when)
    assert (document.since, document.until) == (limit.since, limit.until)
    event = found.said[Reason.TIER_LIMITED]
    assert "; it lifts when " in event
    assert NUMBER.search(event)
    by_person = any(override.tier == FREE for override in policy.overrides) or limit.state is TierState.SUSPEND
    if policy.overrides and by_person:
        assert (limit.until, status.until) == (UNTIL, UNTIL_TEXT)
        assert UNTIL_TEXT in event


@pytest.mark.parametrize(("policy", "seen"), STEPS.values(), ids=STEPS)
def test_a_level_a_feature_and_held_updates_are_explained_everywhere_alike(policy: Policy, seen: Snapshot) -> None:
    found = told(policy, seen)
    if found.decision.level is Level.NORMAL:
        assert not found.said.keys() & {Reason.LEVEL_CHANGED, Reason.FEATURE_SLOWED, Reason.ROLLOUT_HELD}
        return
    assert "; it lifts when " in found.said[Reason.LEVEL_CHANGED]
    assert found.status.level_since
    assert found.status.level_lifts_when == found.document.lifts_when == found.decision.level_lifts
    assert NUMBER.search(found.decision.level_lifts)
    (feature,) = found.decision.features
    (shown,), slowed = found.status.features, found.document.slowed["edit"]
    assert (shown.cause, shown.lifts_when) == (slowed.cause, slowed.lifts_when) == (feature.cause, feature.lifts_when)
    assert shown.since
    assert (slowed.share, slowed.since, slowed.until) == (feature.share, feature.since, feature.until)
    assert found.document.features["edit"] == feature.share
    assert "; it lifts when " in found.said[Reason.FEATURE_SLOWED]
    assert NUMBER.search(found.said[Reason.FEATURE_SLOWED])
    updates = found.status.rollouts
    assert updates is not None
    assert updates.cause
    assert updates.since
    assert updates.lifts_when
    assert "; they go on when " in found.said[Reason.ROLLOUT_HELD]
    if any(override.level for override in policy.overrides):
        assert shown.until == UNTIL_TEXT
        assert UNTIL_TEXT in found.decision.level_lifts
        assert "override: keynote (ann)" in shown.cause


@pytest.mark.parametrize("override", [one for policy, _ in STEPS.values() for one in policy.overrides], ids=str)
def test_an_override_is_told_with_its_end_and_who_set_it(override: Override) -> None:
    found = told(replace(POLICY, overrides=(override,)), surge(2.0, 0.0))
    event = found.said[Reason.OVERRIDE_BEGUN]
    assert f"until {UNTIL_TEXT}" in event
    assert "keynote (ann)" in event
    (shown,) = found.status.overrides
    assert (shown.until, shown.by) == (UNTIL_TEXT, "ann")


def a_loan(step: MoveStep, why: str = "") -> Claim:
    node, pools = a_node("gpu-04"), (a_pool(), a_pool("inference"))
    claim = new_claim(node, ("serving/image-gen", "policy-uid"), pools, (NOW, UNTIL))
    return replace(claim, step=step, cause="8 GPUs are missing for a demand of 960/m", why=why)


def test_a_loan_says_what_was_short_and_when_it_ends_in_claim_event_and_status() -> None:
    claim = parse_claim(write_claim(a_loan(MoveStep.CLAIMED)))
    node = NodeName("gpu-04")
    ((reason, text),) = loan_changes({}, {node: claim}, {})
    assert (reason, text) == (Reason.NODE_BORROWED, borrowed_words(node, claim))
    assert text == (
        "gpu-04 is borrowed from research for serving/image-gen: 8 GPUs are missing for a demand of 960/m; "
        f"it goes home once the service stays calm without it, at {UNTIL_TEXT} at the latest"
    )
    seen = a_snapshot(CALM, loans=(a_node("gpu-04", claim=claim),))
    decision = decide(POLICY, Memory(), seen, NOW)
    waiting = replace(a_pass(POLICY, seen, decision), waits={node: "2 pods are bound"})
    (loan,) = policy_status(waiting, PolicyStatus(), Epoch(1), NOW).loans
    assert (loan.why, loan.promised_return) == ("8 GPUs are missing for a demand of 960/m", UNTIL_TEXT)
    assert loan.waits_for == "2 pods are bound"


def test_a_loans_end_is_told_in_the_words_of_the_nodes_own_event() -> None:
    node, out = NodeName("gpu-04"), a_loan(MoveStep.LENT)
    home = replace(out, step=MoveStep.RECALLED, why="its promised return has come")
    (recalled,) = loan_changes({node: out}, {node: home}, {})
    assert recalled == (Reason.NODE_RECALLED, "gpu-04 goes home to research: its promised return has come")
    assert list(loan_changes({node: out}, {}, {node: Instant(NOW + 60)})) == [
        (Reason.NODE_RETURNED, "gpu-04 is home in research")
    ]
    gone = (Reason.LOAN_ENDED, "the loan of gpu-04 by research is over: the node is gone")
    assert list(loan_changes({node: out}, {}, {})) == [gone]
    assert list(loan_changes({node: out}, {}, {node: Instant(NOW - 60)})) == [gone], "it came home from an earlier loan"


def test_every_reason_that_a_decision_can_give_is_looked_at_here_or_names_an_end() -> None:
    ends = {Reason.OVERRIDE_ENDED, Reason.FEATURE_RESTORED, Reason.ROLLOUT_RESUMED, Reason.TIER_LIFTED}
    of_updates = {
        Reason.UPDATE_TRIED,
        Reason.ROLLOUT_LEFT_ALONE,
    }  # tests/unit/core/test_update_trial.py, test_rollout.py
    seen = {
        Reason.LEVEL_CHANGED,
        Reason.TIER_LIMITED,
        Reason.FEATURE_SLOWED,
        Reason.ROLLOUT_HELD,
        Reason.OVERRIDE_BEGUN,
    }
    loans = {Reason.NODE_BORROWED, Reason.NODE_LENT, Reason.NODE_RECALLED, Reason.NODE_RETURNED, Reason.LOAN_ENDED}
    assert set(CHANGES) == ends | of_updates | seen | loans
