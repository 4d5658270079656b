"""What people read of a status: the status's own words, on one line, on a page, as an explanation."""

from dataclasses import dataclass

from meltguard.api.conditions import ConditionStatus
from meltguard.api.policy import ImageServicePolicy
from meltguard.api.policy_status import (
    CostStatus,
    HistoryEntry,
    PolicyStatus,
    RevisionStatus,
    RolloutStatus,
    TrialStatus,
)
from meltguard.cli import plugin_text as text
from meltguard.clock import parse_rfc3339
from meltguard.controller.policies import WHY_PAUSED
from meltguard.core.rollout_state import RolloutState
from meltguard.core.seen import TrialStage
from meltguard.core.units import Instant
from support.objects import a_policy_object
from support.statuses import AT, a_condition, a_policy_status


@dataclass(frozen=True)
class Shown:
    """A policy with a status."""

    status: PolicyStatus

    @property
    def policy(self) -> ImageServicePolicy:
        """As the API server would have it."""
        body = a_policy_object()
        body["status"] = self.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        return ImageServicePolicy.model_validate(body)


PRESSED = a_policy_status()
NOW = Instant(parse_rfc3339(AT) + 5.0)


def test_one_line_says_whether_it_is_well_what_it_does_and_why() -> None:
    row = text.overview(Shown(PRESSED).policy, NOW, wide=False)
    assert row[:7] == ("serving", "image-gen", "yes", "Enforce", "Overloaded", "31/32", "1")
    assert row[7] == PRESSED.why


def test_a_policy_that_is_not_ready_says_the_reason() -> None:
    ill = PRESSED.model_copy(update={"conditions": (a_condition("Ready", ConditionStatus.FALSE),)})
    assert text.overview(Shown(ill).policy, NOW, wide=False)[2] == "no: AllWell"


def test_a_policy_that_nobody_looked_at_yet_says_so() -> None:
    new = Shown(PolicyStatus()).policy
    assert text.overview(new, NOW, wide=False)[2] == "?"
    assert "is it running?" in text.overview(new, NOW, wide=False)[7]
    assert "is it running?" in text.why(new, NOW, history=True)[0]
    assert text.page(new, NOW)


def test_a_status_that_nobody_renews_is_no_ok_and_the_last_words_stay() -> None:
    policy = Shown(PRESSED).policy
    in_time, late = Instant(parse_rfc3339(AT) + text.SILENT), Instant(parse_rfc3339(AT) + 600.0)
    assert text.overview(policy, in_time, wide=False)[2] == "yes"
    assert text.overview(policy, late, wide=False)[2] == "no: Silent"
    for said in (
        text.overview(policy, late, wide=False)[7],
        text.page(policy, late)[0],
        text.why(policy, late, history=False)[0],
    ):
        assert f"nothing was decided since {AT}, 10 min ago: is the operator running?" in said
        assert str(PRESSED.why) in said


def test_a_pause_says_why() -> None:
    policy = Shown(PRESSED).policy
    meta = policy.metadata.model_copy(update={"annotations": {WHY_PAUSED: "an upgrade (ada)"}})
    assert "paused: an upgrade (ada)" in text.page(policy.model_copy(update={"metadata": meta}), NOW)
    assert not any(line.startswith("paused:") for line in text.page(policy, NOW))


def test_overrides_are_listed_and_what_is_over_says_so() -> None:
    policy = Shown(PRESSED).policy  # its one override ends on the first of December
    assert text.override_rows(policy, NOW) == [("free: Suspend", "2026-12-01T18:00:00Z", "ada", "launch day")]
    later = parse_rfc3339("2026-12-01T18:00:00Z")
    assert text.override_rows(policy, later)[0][1] == "2026-12-01T18:00:00Z (over)"


def test_the_page_has_every_part_in_the_status_own_words() -> None:
    held = RolloutStatus(state=RolloutState.HELD, since=AT, cause="level Overloaded holds", lifts_when="it falls")
    page = "\n".join(text.page(Shown(PRESSED.model_copy(update={"rollouts": held})).policy, NOW))
    for said in (
        "wait 6.1 s, pressure 1.13, 1 s old",
        "temperature is unknown: stale: measured 90 s ago",
        "free Reject, limit 31/m, demand 300/m, since 2026-11-23T10:00:00Z: demand 400/m is more than the GPUs' 320/m",
        "lifts when demand falls below 320/m, or nodes arrive; then the limit rises to 375/m",
        "level Overloaded lifts when pressure below 0.84 lasts for 60 s: Elevated then",
        "image-edit 5%, since 2026-11-23T10:00:00Z: level Overloaded (pressure 1.31) leaves",
        "Held since 2026-11-23T10:00:00Z: level Overloaded holds; they go on when it falls",
        "plus: 120/m, until 2026-11-24T10:00:00Z: launch day (ada)",
        "3 GPUs are missing for a demand of 400/m; it waits: the node is not Ready",
        "image-gen-7: no answer",
        "next: Overloaded steps down once pressure below 0.84 lasts for 60 s more",
    ):
        assert said in page


def test_a_trial_is_told_with_its_figures_on_the_page_and_in_the_explanation() -> None:
    trial = TrialStatus(
        stage=TrialStage.JUDGING,
        since=AT,
        pods=2,
        cost=CostStatus(samples=54, least="-25%", mean="-20%", most="-15%"),
        cost_here=CostStatus(samples=3),
        revisions=(RevisionStatus(revision="7d8b4", update=True, images_per_gpu_second="1.250"),),
    )
    tried = RolloutStatus(state=RolloutState.TRYING, since=AT, trial=trial)
    policy = Shown(PRESSED.model_copy(update={"rollouts": tried})).policy
    for told in (text.page(policy, NOW), text.why(policy, NOW, history=False)):
        page = "\n".join(told)
        assert f"trial of an update: Judging on 2 pods since {AT}" in page
        assert "GPU time for an image, against before: -20% (-25% to -15%), 54 samples" in page
        assert "at this share of the pods alone: 3 samples" in page
        assert "revision 7d8b4 (the update): 1.250 images a GPU-second" in page


def test_what_is_not_as_it_should_be_is_named_and_nothing_else() -> None:
    kinds = {"Ready": True, "Enforced": False, "Throttling": True, "Stalled": True, "BorrowingBlocked": False}
    status = PRESSED.model_copy(
        update={
            "conditions": tuple(
                a_condition(kind, ConditionStatus.TRUE if holds else ConditionStatus.FALSE)
                for kind, holds in kinds.items()
            )
        }
    )
    assert [line.split()[0] for line in text.troubles(status)] == ["Enforced", "Stalled"]


def test_why_shows_inputs_rules_what_unblocks_and_the_history() -> None:
    entry = HistoryEntry(at=AT, reason="LevelChanged", text="Normal to Elevated: wait 5 s")
    policy = Shown(PRESSED.model_copy(update={"history": (entry,)})).policy
    told = "\n".join(text.why(policy, NOW, history=True))
    assert "31 of 32 pods answer, demand 400/m, capacity 320/m, shared out 300/m" in told
    assert "yes  agents answer: 31 of 32" in told
    assert "a loan waits for: a fresh temperature" in told
    assert "LevelChanged: Normal to Elevated: wait 5 s" in told
    assert "LevelChanged" not in "\n".join(text.why(policy, NOW, history=False))


def test_a_wide_line_has_the_numbers_and_what_is_next() -> None:
    policy = Shown(PRESSED).policy
    shown = dict(zip(text.WIDE_STATUS_COLUMNS, text.overview(policy, NOW, wide=True), strict=True))
    assert (shown["PRESSURE"], shown["DEMAND"], shown["CAPACITY"], shown["SINCE"]) == ("1.31", "400/m", "320/m", AT)
    assert shown["NEXT"] == "Overloaded steps down once pressure below 0.84 lasts for 60 s more"
    assert shown["WHY"] == text.overview(policy, NOW, wide=False)[-1]
    assert set(text.overview(Shown(PolicyStatus()).policy, NOW, wide=True)[7:12]) == {"?"}


def test_why_shows_every_measure_that_holds() -> None:
    held = RolloutStatus(state=RolloutState.HELD, since=AT, cause="level Overloaded holds", lifts_when="it falls")
    told = "\n".join(text.why(Shown(PRESSED.model_copy(update={"rollouts": held})).policy, NOW, history=False))
    for said in ("image-edit 5%", "level Overloaded holds", "plus: 120/m, until", "gpu-7 of research"):
        assert said in told


def test_limits_are_one_line_a_tier_and_wide_says_what_lifts_them() -> None:
    policy = Shown(PRESSED).policy
    narrow, wide = (list(text.limit_rows(policy, wide=one)) for one in (False, True))
    assert [row[1:4] for row in narrow] == [("free", "Reject", "31/m"), ("pro", "Open", "none")]
    assert wide[0][-2].startswith("demand falls below 320/m, or nodes arrive")
    assert wide[0][-1] == "Free images pause while demand is high."
    assert len(text.WIDE_LIMIT_COLUMNS) == len(wide[0])
