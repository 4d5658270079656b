from dataclasses import replace
from pathlib import Path

import pytest

from meltguard.controller.events import Reason
from meltguard.core.units import Gpus, Seconds
from meltguard.errors import InvalidInput
from meltguard.rehearse.figures import figures_of
from meltguard.rehearse.rehearsal import Rehearsal, merged, own_gpus, rehearse, taker_of
from meltguard.rehearse.report import report, written
from meltguard.rehearse.story import first
from support.objects import REMOVED, edited
from support.rehearsals import FLEET, POLICY, RESEARCH, a_fleet, a_plan, a_surge, run, some_manifests


def told(rehearsal: Rehearsal, reason: Reason) -> list[str]:
    return [one.text for one in rehearsal.told if one.reason is reason]


def test_a_surge_borrows_the_idle_node_first_then_the_one_whose_work_saves_itself(surged: Rehearsal) -> None:
    nodes = [text.split()[0] for text in told(surged, Reason.NODE_LENT)]
    assert nodes[0] == "research-01"
    assert len(nodes) == 2


def test_the_service_serves_on_borrowed_nodes_only_once_their_model_is_loaded(surged: Rehearsal) -> None:
    lent = first(surged.told, Reason.NODE_LENT)
    grown = next(sample.at for sample in surged.ledger.samples if sample.gpus > 8)
    assert lent is not None
    assert 30.0 <= grown - lent <= 34.0


def test_all_nodes_are_home_again_after_the_surge(surged: Rehearsal) -> None:
    assert surged.out == 0
    assert len(told(surged, Reason.NODE_RETURNED)) == 2
    assert surged.frames[-1].home == {"inference": 1, "research": 3}


def test_the_floor_of_the_lender_is_kept_at_every_tick(surged: Rehearsal) -> None:
    assert min(frame.home["research"] for frame in surged.frames) == 1


def test_limits_come_and_go_in_the_operators_words(surged: Rehearsal) -> None:
    assert told(surged, Reason.TIER_LIMITED)
    assert told(surged, Reason.TIER_LIFTED)[-1] == "tier free is open again"


def test_a_drained_gang_was_told_and_saved_its_work(surged: Rehearsal) -> None:
    assert surged.broken_off == 1
    assert surged.work_lost < 0.1


def test_a_gang_whose_node_is_home_again_works_until_the_next_surge_breaks_it_off(tmp_path: Path) -> None:
    once = a_surge(until=3000.0)
    times = (*once.times, Seconds(2000.0), Seconds(2240.0))
    twice = replace(once, times=times, rates={tier: (*rates, *rates[1:]) for tier, rates in once.rates.items()})
    assert run(a_plan(some_manifests(tmp_path), surge=twice)).broken_off == 2


def test_every_request_is_admitted_refused_or_still_waiting(surged: Rehearsal) -> None:
    tiers = surged.ledger.tiers.values()
    assert sum(one.offered - one.admitted - one.refused for one in tiers) == surged.ledger.waiting


def test_the_same_seed_gives_the_same_rehearsal(tmp_path: Path, surged: Rehearsal) -> None:
    again = run(a_plan(some_manifests(tmp_path)))
    assert again.told == surged.told
    assert again.frames == surged.frames
    assert again.ledger.samples == surged.ledger.samples
    texts = {written(report([(one, figures_of(one), ())])) for one in (again, surged)}
    assert len(texts) == 1


def test_another_seed_gives_another(tmp_path: Path, surged: Rehearsal) -> None:
    other = run(a_plan(some_manifests(tmp_path), seed=2))
    assert other.ledger.tiers["free"].offered != surged.ledger.tiers["free"].offered


def test_work_that_does_not_listen_loses_what_it_did_since_its_checkpoint(tmp_path: Path) -> None:
    work = {"name": "train", "nodes": 2, "checkpointEvery": "1h", "runningFor": "90m"}
    deaf = edited(FLEET, {"pools.research.work.0": work})
    lost = run(a_plan(some_manifests(tmp_path), fleet=a_fleet(deaf))).work_lost
    assert 16 * 0.5 < lost < 16 * 0.7  # GPU-hours: both nodes' GPUs, half an hour and until its node is wanted


def test_a_lender_of_idle_nodes_only_evicts_nobody(tmp_path: Path) -> None:
    gentle = some_manifests(tmp_path, research=edited(RESEARCH, {"spec.lending.eviction": REMOVED}))
    rehearsal = run(a_plan(gentle))
    assert len(told(rehearsal, Reason.NODE_LENT)) == 1
    assert rehearsal.broken_off == 0


def test_a_closed_window_lends_nothing(tmp_path: Path) -> None:
    closed = [{"action": "Deny", "schedule": "0 9 * * 1", "duration": "2h", "timeZone": "UTC"}]
    manifests = some_manifests(tmp_path, research=edited(RESEARCH, {"spec.lending.windows": closed}))
    rehearsal = run(a_plan(manifests))
    assert told(rehearsal, Reason.NODE_BORROWED) == []
    assert rehearsal.borrowed == 0.0


def test_a_policy_without_capacity_limits_and_borrows_nothing(tmp_path: Path) -> None:
    manifests = some_manifests(tmp_path, policy=edited(POLICY, {"spec.capacity": REMOVED}))
    rehearsal = run(a_plan(manifests))
    assert taker_of(manifests, a_fleet()).name == "inference"
    assert told(rehearsal, Reason.NODE_BORROWED) == []
    assert told(rehearsal, Reason.TIER_LIMITED)


def test_loans_that_are_still_out_count_as_borrowed(tmp_path: Path) -> None:
    rehearsal = run(a_plan(some_manifests(tmp_path), surge=a_surge(until=300.0)))
    assert rehearsal.out == 2
    assert rehearsal.borrowed > 0.0


def test_pods_by_themselves_come_to_much_the_same(tmp_path: Path, surged: Rehearsal) -> None:
    exact = run(a_plan(some_manifests(tmp_path), gpus_a_pod=Gpus(1)))
    done = exact.ledger.tiers["free"].done / surged.ledger.tiers["free"].done
    assert len(told(exact, Reason.NODE_LENT)) == 2
    assert 0.9 < done < 1.1


def test_pods_are_merged_into_the_largest_that_fit_all_nodes(tmp_path: Path) -> None:
    manifests = some_manifests(tmp_path)
    assert merged(manifests, a_fleet()) == 8
    assert merged(manifests, a_fleet(edited(FLEET, {"pools.research.gpus": 4}))) == 4


def test_cards_settle_where_the_fleet_says(tmp_path: Path, surged: Rehearsal) -> None:
    hot = run(a_plan(some_manifests(tmp_path), fleet=a_fleet(edited(FLEET, {"service.celsius": 80}))))
    assert 79.0 < max(sample.hottest for sample in hot.ledger.samples) <= 80.0
    assert 73.0 < max(sample.hottest for sample in surged.ledger.samples) <= 74.0


def test_a_pod_that_fits_no_node_is_refused(tmp_path: Path) -> None:
    manifests = some_manifests(tmp_path, policy=edited(POLICY, {"spec.service.gpusPerPod": 8}))
    with pytest.raises(InvalidInput, match="gpusPerPod 8 does not fit a node of pool research"):
        merged(manifests, a_fleet(edited(FLEET, {"pools.research.gpus": 4})))


def test_a_service_without_gpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="pool inference, the service's own, has no GPU"):
        own_gpus(some_manifests(tmp_path), a_fleet(edited(FLEET, {"pools.inference.nodes": 0})))


def test_progress_is_told_in_simulated_seconds(tmp_path: Path) -> None:
    heard: list[Seconds] = []
    rehearse(a_plan(some_manifests(tmp_path), surge=a_surge(until=10.0)), heard.append)
    assert heard == [0.0, 2.0, 4.0, 6.0, 8.0]
