"""Series begin at zero when a policy appears, and end with it."""

import math
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from meltguard.api.conditions import Condition, ConditionStatus
from meltguard.api.pool_status import LedgerStatus, NodeCounts, PoolStatus
from meltguard.controller.enforcer import Enforcement
from meltguard.controller.events import Reason
from meltguard.controller.telemetry import Telemetry
from meltguard.controller.telling import CHANGES
from meltguard.controller.troubles import TOLD
from meltguard.core.comparison import Compared, Spent
from meltguard.core.decide import decide
from meltguard.core.loading import Loading
from meltguard.core.memory import Memory
from meltguard.core.policy import Feature, Level, Policy
from meltguard.core.rollout_state import Rollouts, RolloutState
from meltguard.core.seen import TrialMark, TrialStage
from meltguard.core.trial import Tally
from meltguard.core.units import Instant, Percent, Revision, Seconds
from support.core_values import FREE, a_policy, a_snapshot
from support.statuses import AT

EDIT = Feature(name="edit", rollout={Level.NORMAL: Percent(80)})
POLICY = replace(a_policy(), features=(EDIT,))
SERVICE = {"namespace": "serving", "policy": "image-gen"}


def enforced(**changes: object) -> Enforcement:
    done = Enforcement(revision=Revision(1), pods=8, acknowledged=7, laggards=(), stores={}, ack_times=(Seconds(0.2),))
    return replace(done, **changes)  # type: ignore[arg-type]


def after_a_pass(policy: Policy = POLICY) -> Telemetry:
    telemetry = Telemetry()
    seen = a_snapshot({FREE: 4.0})
    telemetry.decided(policy, decide(policy, Memory(), seen, Instant(1000.0)), seen, enforced())
    return telemetry


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(f"meltguard_{name}", labels)


def test_a_service_is_shown_from_its_first_pass_with_zeros_for_what_has_not_happened() -> None:
    telemetry = after_a_pass()
    assert value(telemetry, "level", **SERVICE) == 0.0
    assert value(telemetry, "serving_pods", **SERVICE) == 8.0
    assert value(telemetry, "acknowledged_pods", **SERVICE) == 7.0
    assert value(telemetry, "limit_units_per_second", **SERVICE, tier="free") == float("inf")
    assert value(telemetry, "admitted_units_per_second", **SERVICE, tier="free") == 4.0
    assert value(telemetry, "tier_state", **SERVICE, tier="free", state="Open") == 1.0
    assert value(telemetry, "tier_state", **SERVICE, tier="free", state="Suspend") == 0.0
    assert value(telemetry, "feature_share_ratio", **SERVICE, feature="edit") == 0.8
    assert value(telemetry, "loans", **SERVICE, step="Lent") == 0.0
    assert {value(telemetry, "decisions_total", **SERVICE, reason=one.value) for one in (*CHANGES, *TOLD)} == {0.0}
    assert {value(telemetry, "events_total", reason=reason.value) for reason in Reason} == {0.0}
    assert value(telemetry, "tier_priority", **SERVICE, tier="free") == 0.0
    assert value(telemetry, "move_steps_total", step="Released") == 0.0
    assert value(telemetry, "loop_failures_total", loop="moves") == 0.0
    assert {value(telemetry, "update_trial", **SERVICE, stage=stage.value) for stage in TrialStage} == {0.0}
    assert math.isnan(value(telemetry, "pod_start_seconds", **SERVICE) or 0.0)
    assert math.isnan(value(telemetry, "update_cost_ratio", **SERVICE, bound="mean") or 0.0)


def test_a_trial_shows_its_stage_and_what_it_found() -> None:
    telemetry, seen = Telemetry(), a_snapshot({FREE: 4.0})
    decision = decide(POLICY, Memory(loading=Loading(usual=Seconds(42.0), starts=1)), seen, Instant(1000.0))
    stage = TrialStage.JUDGING
    trial = TrialMark(stage=stage, template="v2", before=("old",), since=Instant(900.0), strategy="{}")
    tally = Tally(count=60, mean=math.log(0.8), spread=0.6, swings=1.2)
    spent = (("old", Spent(busy=100.0, done=100.0)), ("new", Spent(busy=80.0, done=100.0)))
    compared = Compared(whole=tally, here=tally, spent=spent)
    rollouts = Rollouts(state=RolloutState.TRYING, trial=trial, compared=compared)
    telemetry.decided(POLICY, replace(decision, rollouts=rollouts), seen, enforced())
    shown = {one: value(telemetry, "update_trial", **SERVICE, stage=one.value) for one in TrialStage}
    assert shown == {one: float(one is stage) for one in TrialStage}
    assert value(telemetry, "pod_start_seconds", **SERVICE) == 42.0
    assert value(telemetry, "update_cost_ratio", **SERVICE, bound="mean") == pytest.approx(0.8)
    assert value(telemetry, "revision_images_per_gpu_second", **SERVICE, revision="new") == 1.25


def test_what_was_told_and_what_conditions_say_is_counted() -> None:
    telemetry = after_a_pass()
    telemetry.told(POLICY, Reason.TIER_LIMITED)
    telemetry.told(POLICY, Reason.TIER_LIMITED)
    condition = Condition(
        type="Ready",
        status=ConditionStatus.FALSE,
        observed_generation=1,
        last_transition_time=AT,
        reason="Lagging",
        message="m",
    )
    telemetry.conditioned(POLICY, (condition,))
    assert value(telemetry, "decisions_total", **SERVICE, reason="TierLimited") == 2.0
    assert value(telemetry, "condition", **SERVICE, condition="Ready", status="False") == 1.0
    assert value(telemetry, "condition", **SERVICE, condition="Ready", status="True") == 0.0


def test_nothing_is_left_of_a_policy_that_is_gone() -> None:
    telemetry = after_a_pass()
    telemetry.pass_seconds.labels("serving", "image-gen").observe(0.1)
    telemetry.forget(POLICY)
    assert b"image-gen" not in telemetry.text()
    telemetry.told(POLICY, Reason.TIER_LIMITED)
    telemetry.conditioned(POLICY, ())
    assert b"image-gen" not in telemetry.text()


def test_passes_without_a_signal_and_failed_pushes_are_counted_from_zero() -> None:
    telemetry = after_a_pass()
    seen = a_snapshot({FREE: 4.0})
    decision = decide(POLICY, Memory(), seen, Instant(1001.0))
    first = decision.signals[0]
    name = first.name
    before = value(telemetry, "signal_unknown_total", **SERVICE, signal=name)
    assert before is not None
    assert value(telemetry, "push_failures_total", **SERVICE) == 0.0
    blind = replace(decision, signals=(replace(first, pressure=None), *decision.signals[1:]))
    telemetry.decided(POLICY, blind, seen, enforced(failures=3))
    telemetry.decided(POLICY, replace(decision, signals=(replace(first, pressure=0.5),)), seen, enforced(failures=3))
    assert value(telemetry, "signal_unknown_total", **SERVICE, signal=name) == before + 1.0
    assert value(telemetry, "push_failures_total", **SERVICE) == 3.0


def test_pools_are_shown_with_their_books() -> None:
    telemetry = Telemetry()
    books = LedgerStatus(loans=2, gpu_hours_lent="12.5", work_lost="1.5")
    nodes = NodeCounts(total=8, ready=5, lent=3, floor=4)
    telemetry.pools({"research": PoolStatus(nodes=nodes, lendable=1, gpu_hours_lent="12", ledger=books)})
    assert value(telemetry, "pool_nodes", pool="research", kind="ready") == 5.0
    assert value(telemetry, "pool_gpu_hours_lent_total", pool="research") == 12.0
    assert value(telemetry, "pool_work_lost_gpu_hours_total", pool="research") == 1.5
    telemetry.pools({})
    assert value(telemetry, "pool_nodes", pool="research", kind="ready") is None


def test_the_exposition_is_one_that_prometheus_reads_and_names_no_pod() -> None:
    telemetry = after_a_pass()
    telemetry.watch_loops(lambda: {"moves": Seconds(0.5)})
    found = list(text_string_to_metric_families(telemetry.text().decode()))
    labels = {name for family in found for sample in family.samples for name in sample.labels}
    assert "pod" not in labels
    assert "user" not in labels
    assert value(telemetry, "loop_age_seconds", loop="moves") == 0.5
    assert all(family.documentation.endswith(".") for family in found)
