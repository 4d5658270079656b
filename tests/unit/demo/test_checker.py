"""The checker over whole runs of made-up evidence, and the report and exit code that follow."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from msgspec.structs import replace as replace_struct

from meltguard.core.units import Instant, Seconds, Share
from meltguard.demo.check.audit import Ref, Write
from meltguard.demo.check.evidence import Evidence, Snapshot
from meltguard.demo.checker import check
from meltguard.demo.records import Turned
from meltguard.demo.report import Verdict, report, rows, verdict
from support.demo_evidence import a_claim, a_node, a_write, an_entry, an_eviction, node_write, refused
from support.demo_runs import (
    BORROWS,
    FREE_DELAYED,
    FREE_REJECTED,
    HELD,
    HOME,
    LENT,
    NORMAL,
    PRESSED,
    START,
    a_good_run,
    drained_loan,
    facts,
    loan,
    measures,
    result,
    status_write,
    the_ladder,
    work_of,
)


def a_status(at: float, rate: str) -> Write:
    return status_write(at, {"limits": [{"tier": "free", "state": "Delay", "rate": rate}]})


def outcome(evidence: Evidence) -> Verdict:
    return verdict(check(evidence), facts(evidence))


def test_a_good_run_is_the_whole_story() -> None:
    evidence = a_good_run()
    found = check(evidence)

    assert {promise: times for promise, times in found.broken.items() if times} == {}
    assert outcome(evidence) is Verdict.WHOLE_STORY


def test_the_report_tells_times_from_the_start_of_the_surge() -> None:
    evidence = a_good_run()
    told = report(check(evidence), facts(evidence))

    assert told["firstLimitPushed"] == 11.0
    assert told["firstNodeClaimed"] == 10.0
    assert told["firstNodeSchedulable"] == 18.0
    assert told["claimToSchedulableSecondsMax"] == 8.0
    assert told["firstNodeServing"] == 25.0
    assert told["limitsLifted"] == 50.0
    assert told["allNodesHome"] == 92.0
    assert told["claimToSchedulableBusySecondsMax"] == 19.0
    steps = {step["step"]: step["at"] for step in told["story"]}
    assert steps["the new feature is slowed"] == 9.0
    assert steps["that override ends by itself"] == 46.0
    assert steps["another term goes on where it stopped"] == 50.0
    assert steps["updates go on, and the shipped version runs"] == 60.0
    assert told["requests"]["free"]["refused"] == 1
    assert (told["researchReadyMin"], told["maxLoans"]) == (2, 2)
    assert all(step["done"] for step in told["story"])
    assert steps["it is tried on one pod: does it make images cheaper?"] == 47.0
    assert steps["updates go on, and the shipped version runs"] == 60.0


def test_a_limit_that_leaves_gpus_idle_shows() -> None:
    run = a_good_run()
    limited = [an_entry(START + 10 + i, state="Delay", rate=0.2, took=Seconds(0.5), user=f"l{i}") for i in range(11)]
    evidence = replace(run, journals={"gpu-01": tuple(limited)})

    assert report(check(evidence), facts(evidence))["gpuBusyWhileLimited"] == pytest.approx(5.0 / 22.0, abs=1e-3)


def with_writes(*writes: Write) -> Callable[[Evidence], Evidence]:
    return lambda run: replace(run, writes=tuple(sorted((*run.writes, *writes), key=lambda write: write.at)))


def with_entries(*entries: object) -> Callable[[Evidence], Evidence]:
    return lambda run: replace(run, journals={**run.journals, "gpu-02": tuple(entries)})  # type: ignore[arg-type]


def turned_away(at: Instant, reason: str) -> Callable[[Evidence], Evidence]:
    """A paid user who is told so, at a pod that wrote it down, while two free ones are served."""
    told = replace_struct(result(0.004), tier="plus", status=503, turned=(Turned(at=at, reason=reason),))
    served = (an_entry(at - 0.4, user="x1"), an_entry(at - 0.3, user="x2"), refused(at, reason, tier="plus"))
    return lambda run: replace(with_entries(*served)(run), results=(*run.results, told))


def and_after(snapshot: Snapshot) -> Callable[[Evidence], Evidence]:
    return lambda run: replace(run, after=snapshot)


BROKEN = {
    "a pod deleted by the operator": with_writes(
        a_write(START + 30, "delete", Ref(resource="pods", namespace="research", name="train-0"))
    ),
    "research work that vanished": and_after(replace(HOME, lenders_pods=())),
    "work that was evicted untold": with_writes(an_eviction(START + 30, "train-0", "t")),
    "a higher tier limited before a lower one": with_writes(
        measures(2, limits=[{"tier": "plus", "state": "Delay", "rate": "9/m"}])
    ),
    "a tier limited before the feature was slowed": with_writes(
        measures(3, rollouts={"state": "Held"}, decision={"rules": [BORROWS]}, limits=FREE_DELAYED)
    ),
    "a tier limited before updates were held": with_writes(
        measures(3, features=HELD["features"], decision={"rules": [BORROWS]}, limits=FREE_DELAYED)
    ),
    "a tier limited at a pressure at which nothing is borrowed": with_writes(
        status_write(9.5, {**HELD, "decision": {"rules": [{**BORROWS, "holds": False}]}, "limits": FREE_DELAYED})
    ),
    "a tier refused at a level that delays": with_writes(status_write(12, {**HELD, "limits": FREE_REJECTED})),
    "a tier suspended at a level that refuses": with_writes(
        status_write(25, {**PRESSED, "limits": [{"tier": "free", "state": "Suspend", "rate": "0.0/m"}]})
    ),
    "a level that falls by two at once": with_writes(
        status_write(52, {**NORMAL, "features": HELD["features"], "rollouts": {"state": "Held"}, "epoch": 2}),
        status_write(53, {**PRESSED, "epoch": 2}),
    ),
    "a hot card that counts in full": lambda run: replace(
        run, glimpses=tuple(replace(one, counted=Share(1.0)) for one in run.glimpses)
    ),
    "a hot card that nobody saw": lambda run: replace(run, glimpses=()),
    "a slow card as fast as its peers": lambda run: replace(
        run, journals={**run.journals, "gpu-03": (*work_of("s1", 10, 2.0), *work_of("p2", 10, 2.0))}
    ),
    "an update that never got through": and_after(replace(HOME, updated=False)),
    "an eviction without uid": with_writes(an_eviction(START + 30, "train-0")),
    "a second node claimed under the floor": with_writes(
        node_write(START + 21, "b", 13, claim=a_claim("m2"), epoch=1),
        node_write(START + 22, "a", 14, claim=a_claim("m3"), epoch=1),
        node_write(START + 95, "b", 15, epoch=1),
        node_write(START + 96, "a", 16, epoch=1),
    ),
    "a free user with four images": with_entries(*(an_entry(START + i, user="greedy", images=2) for i in range(2))),
    "a paid request shed for the free tier": turned_away(Instant(START + 30.5), "queue-full"),
    "an epoch that fell": with_writes(
        node_write(START + 91, "c", 43, epoch=3), node_write(START + 92, "c", 44, epoch=2)
    ),
    "a claim that stayed": and_after(replace(HOME, fleet={**HOME.fleet, "c": a_node("c", 20, claim=a_claim())})),
    "a label that is not as it was": and_after(
        replace(HOME, fleet={**HOME.fleet, "c": a_node("c", 20, labels={"workload": "research", "left": "over"})})
    ),
    "a node that stayed cordoned": and_after(
        replace(HOME, fleet={**HOME.fleet, "c": a_node("c", 20, unschedulable=True)})
    ),
    "images that nobody delivered": lambda run: replace(
        run, results=(*run.results, *(result(0.001) for _ in range(50)))
    ),
    "no loan at all": lambda run: replace(run, writes=()),
    "no request at all": lambda run: replace(run, journals={}, results=()),
}


SLOW = {
    "acknowledgements that took too long": lambda run: replace(run, ack_p99=Seconds(1.2)),
    "acknowledgements that nobody measured": lambda run: replace(run, ack_p99=None),
    "a loan that opened late": lambda run: replace(
        run,
        writes=(*loan()[:1], node_write(START + 40, "c", 11, **LENT), *loan()[2:], *drained_loan(), *the_ladder()),
    ),
}


@pytest.mark.parametrize("slow", SLOW.values(), ids=SLOW)
def test_a_time_that_is_not_met_is_shown_and_breaks_no_promise(slow: Callable[[Evidence], Evidence]) -> None:
    evidence = slow(a_good_run())
    assert [row.unit for row in rows(check(evidence), facts(evidence)) if not row.met] == ["s"]
    assert outcome(evidence) is Verdict.WHOLE_STORY


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_promise_is_never_passed(broken: Callable[[Evidence], Evidence]) -> None:
    assert outcome(broken(a_good_run())) is Verdict.NOT_ALL


def test_a_lagging_load_generator_is_inconclusive_even_where_all_is_well() -> None:
    evidence = replace(a_good_run(), results=tuple(result(0.2) for _ in range(20)))

    assert outcome(evidence) is Verdict.INCONCLUSIVE


def test_a_limit_that_came_late_is_not_met() -> None:
    run = a_good_run()
    late = tuple(entry for entry in run.journals["gpu-01"] if entry.state == "Open")
    evidence = replace(
        run, journals={**run.journals, "gpu-01": (*late, an_entry(START + 40, state="Delay", rate=0.2, user="free-l"))}
    )
    found = check(evidence)

    assert found.timeline.overload_seen is not None
    assert [row.met for row in rows(found, facts(evidence)) if row.name == "firstLimitAfterOverloadSeconds"] == [False]


def test_how_long_after_the_first_limit_a_node_was_claimed_is_shown() -> None:
    run = a_good_run()
    later = replace(run, writes=tuple(write for write in run.writes if write.ref.name != "c"))
    told = {row.name: row.value for row in rows(check(run), facts(run))}
    late = {row.name: row.value for row in rows(check(later), facts(later))}

    assert told["firstClaimAfterLimitSeconds"] == 0.0
    assert late["firstClaimAfterLimitSeconds"] == 16.0


def test_turns_of_the_limit_are_read_from_what_the_api_server_was_told() -> None:
    statuses = [a_status(float(i), rate) for i, rate in enumerate(("10/s", "5/s", "8/s", "4/s", "none"))]
    evidence = replace(a_good_run(), writes=(*loan(), *statuses))

    assert check(evidence).limit_turns_a_minute == 2
