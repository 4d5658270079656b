"""The checker bites: each invariant broken once in a made-up audit log, and none in a faultless one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from faults.checker import check
from faults.evidence import read_deeds
from faults.promises import ASKED, EVICT_AFTER, IDENTITY, SAVED, Promises
from meltguard.clock import rfc3339
from meltguard.core.units import Instant
from support.fault_audit import (
    ADMIN,
    OUT,
    START,
    Log,
    a_fleet,
    a_node,
    a_pod,
    claimed,
    evidence,
    lent_taint,
    round_trip,
)

PROMISES = Promises(notice_due=True)
Story = Callable[[Log], None]


def found(log: Log, promises: Promises = PROMISES, pods: tuple[dict[str, object], ...] = ()) -> set[str]:
    return {finding.invariant for finding in check(evidence(log, a_fleet(), pods), promises)}


def test_a_faultless_round_trip_breaks_nothing() -> None:
    log = Log()
    round_trip(log)
    assert found(log) == set()


def test_a_faultless_drain_breaks_nothing() -> None:
    log, pod = Log(), a_pod()
    log.node(claimed("Claimed"))
    log.node(claimed("Cordoned"))
    log.pod(noticed(log, 1.0), user=IDENTITY, asked={"metadata": {"uid": "uid-job-1", "annotations": {ASKED: "t"}}})
    log.evict(pod, waited=3.0)
    log.ends(pod)
    round_trip(log, ("Relabelled", "Lent", "Recalled", "Restored", "Home", "Released"))
    assert found(log, pods=(pod,)) == set()


def noticed(log: Log, notice: float, **more: str) -> dict[str, object]:
    """The pod, told a second from now (when the line is written)."""
    asked = Instant(log.now + 1.0)
    return a_pod(annotations={ASKED: rfc3339(asked), EVICT_AFTER: rfc3339(Instant(asked + notice)), **more})


def s1_claims_below_the_floor(log: Log) -> None:
    log.node(a_node("r2", ready=False), user="kubelet")
    log.node(a_node("r3", cordoned=True), user=ADMIN)
    log.node(claimed("Claimed"))


def s2_deletes_a_pod(log: Log) -> None:
    log.pod(a_pod(), user=IDENTITY, verb="delete", code=403, said="forbidden")


def s2_sets_noexecute(log: Log) -> None:
    log.node(claimed("Claimed"))
    taints = [*lent_taint("research"), {"key": "workload", "value": "research", "effect": "NoExecute"}]
    log.node(claimed("Cordoned", taints=taints))


def s3_names_no_uid(log: Log) -> None:
    log.evict(a_pod(), uid="")


def s3_evicts_twice(log: Log) -> None:
    told = noticed(log, 0.0)
    log.pod(told)
    for _ in range(2):
        log.evict(told, waited=3.0)


def s4_evicts_unnoticed(log: Log) -> None:
    log.node(claimed("Claimed"))
    log.evict(a_pod())


def s4_evicts_too_early(log: Log) -> None:
    log.node(claimed("Claimed"))
    log.pod(noticed(log, 30.0))
    log.evict(a_pod(), waited=3.0)


def s4_backdates_the_notice(log: Log) -> None:
    log.node(claimed("Claimed"))
    times = {ASKED: rfc3339(Instant(START - 60.0)), EVICT_AFTER: rfc3339(Instant(START - 30.0))}
    log.pod(a_pod(annotations=times))
    log.evict(a_pod())


def s5_is_away_unclaimed(log: Log) -> None:
    round_trip(log, OUT)
    log.node(a_node(pool="inference", annotations={"meltguard.io/epoch": "3"}))


def s5_forgets_the_way_back(log: Log) -> None:
    log.node(claimed("Claimed", claim={"home": None}) | {})
    log.node(a_node(annotations={"meltguard.io/loan": "{}", "meltguard.io/epoch": "3"}, cordoned=True))


def s5_writes_over_a_claim(log: Log) -> None:
    log.node(claimed("Claimed"))
    log.node(claimed("Cordoned", claim={"moveId": "m2"}))


def s6_leaves_a_trace(log: Log) -> None:
    round_trip(log, (*OUT, "Recalled", "Restored", "Home"))
    log.node(a_node(annotations={"meltguard.io/epoch": "3", "karpenter.sh/do-not-disrupt": "true"}))


def s6_takes_a_foreign_cordon_off(log: Log) -> None:
    log.node(a_node(cordoned=True), user=ADMIN)
    log.node(claimed("Claimed", cordoned=True))
    log.node(claimed("Lent", "inference", taints=lent_taint("inference")))


def s7_falls_back(log: Log) -> None:
    log.node(claimed("Claimed", epoch=5))
    log.node(claimed("Cordoned", epoch=4))


def s7_writes_in_an_old_term(log: Log) -> None:
    log.lease(8)
    log.node(claimed("Claimed", epoch=7))


def s8_relabels_a_busy_node(log: Log) -> None:
    log.pod(a_pod("late"))
    round_trip(log, ("Claimed", "Cordoned", "Relabelled"))


def s8_opens_a_busy_node(log: Log) -> None:
    round_trip(log, ("Claimed", "Cordoned", "Relabelled"))
    log.pod(a_pod("late"))
    round_trip(log, ("Lent",))


def s8_changes_half(log: Log) -> None:
    log.node(claimed("Claimed"))
    log.node(claimed("Cordoned"))
    log.node(claimed("Relabelled", "inference", taints=lent_taint("research")))


def s9_lends_too_many(log: Log) -> None:
    log.node(claimed("Claimed"))
    other = claimed("Claimed")
    other["metadata"] |= {"name": "r2", "uid": "uid-r2"}
    log.node(other)


def s9_gives_no_rest(log: Log) -> None:
    round_trip(log)
    log.node(claimed("Claimed"))


def s10_writes_foreign_keys(log: Log) -> None:
    log.node(claimed("Claimed", labels={"team": "ours"}))


def s10_writes_on_unmanaged(log: Log) -> None:
    log.node(a_node(labels={"meltguard.io/managed": None}), user=ADMIN)
    log.node(claimed("Claimed", labels={"meltguard.io/managed": None}))


def s10_tries_what_is_refused(log: Log) -> None:
    said = "ValidatingAdmissionPolicy 'meltguard-node-scope' denied request: label team is not ours"
    log.node(a_node(), code=403, said=said)


def s10_writes_to_a_pods_labels(log: Log) -> None:
    log.pod(a_pod(), user=IDENTITY, asked={"metadata": {"labels": {"a": "b"}}})


def s11_borrows_in_the_dark(log: Log) -> None:
    log.node(claimed("Claimed"))


def l2_cordons_unclaimed(log: Log) -> None:
    log.node(a_node(cordoned=True, annotations={"meltguard.io/epoch": "3"}))


def l2_overstays(log: Log) -> None:
    log.node(claimed("Claimed", claim={"stepDeadline": START + 5.0}))
    log.node(claimed("Cordoned"), waited=60.0)


BROKEN: tuple[Story, ...] = (
    s1_claims_below_the_floor,
    s2_deletes_a_pod,
    s2_sets_noexecute,
    s3_names_no_uid,
    s3_evicts_twice,
    s4_evicts_unnoticed,
    s4_evicts_too_early,
    s4_backdates_the_notice,
    s5_is_away_unclaimed,
    s5_forgets_the_way_back,
    s5_writes_over_a_claim,
    s6_leaves_a_trace,
    s6_takes_a_foreign_cordon_off,
    s7_falls_back,
    s7_writes_in_an_old_term,
    s8_relabels_a_busy_node,
    s8_opens_a_busy_node,
    s8_changes_half,
    s9_lends_too_many,
    s9_gives_no_rest,
    s10_writes_foreign_keys,
    s10_writes_on_unmanaged,
    s10_tries_what_is_refused,
    s10_writes_to_a_pods_labels,
    s11_borrows_in_the_dark,
    l2_cordons_unclaimed,
    l2_overstays,
)


def name_of(story: Story) -> str:
    return story.__name__


@pytest.mark.parametrize("story", BROKEN, ids=name_of)
def test_what_is_broken_is_found_and_proved(story: Story) -> None:
    log = Log()
    story(log)
    expected = name_of(story).split("_", maxsplit=1)[0].upper()
    promises = replace(PROMISES, untrusted=((START, START + 900.0),)) if expected == "S11" else PROMISES
    findings = check(
        evidence(log, a_fleet(), (a_pod("elsewhere", "r4"), a_pod())[: 2 if "s4" in name_of(story) else 1]), promises
    )
    named = [finding for finding in findings if finding.invariant == expected]
    assert named, f"{expected} was not found, but {[str(finding) for finding in findings]}"
    events = {f"event-{number}" for number in range(1, len(log.lines) + 1)}
    assert all(finding.event in events for finding in named)


def test_an_answer_lets_a_pod_go_before_its_notice_is_over() -> None:
    log, pod = Log(), a_pod()
    log.node(claimed("Claimed"))
    log.pod(noticed(log, 30.0))
    log.pod(noticed(log, 30.0, **{SAVED: rfc3339(Instant(log.now + 1.0))}))
    log.evict(pod)
    assert "S4" not in found(log, pods=(pod,))


def test_what_others_do_is_not_held_against_us() -> None:
    log = Log()
    round_trip(log, OUT)
    ours = claimed("Lent", "inference", taints=lent_taint("inference"), labels={"theirs": "new"})
    log.node(ours, user=ADMIN)
    log.node(a_node("r2", cordoned=True), user=ADMIN)
    for step in ("Recalled", "Restored", "Home"):
        pool = "inference" if step == "Recalled" else "research"
        log.node(claimed(step, pool, labels={"theirs": "new"}))
    log.node(a_node(labels={"theirs": "new"}, annotations={"meltguard.io/epoch": "3"}))
    assert found(log) == set()


def test_a_node_that_is_made_anew_has_no_past() -> None:
    log = Log()
    round_trip(log, OUT)
    log.write(ADMIN, "delete", {"resource": "nodes", "name": "r1"})  # answered by a Status, which has no revision
    log.node(a_node(uid="another"), user=ADMIN)
    log.node(claimed("Claimed", epoch=2, uid="another"))
    assert found(log) == set()


@pytest.mark.parametrize("owner", ["DaemonSet"])
def test_pods_that_stay_hold_nothing_up(owner: str) -> None:
    log = Log()
    log.pod(a_pod("exporter", owner=owner))
    log.pod(a_pod("done", phase="Succeeded"))
    round_trip(log)
    assert found(log) == set()


def test_a_log_is_read_from_where_a_run_began(tmp_path: Path) -> None:
    log = Log()
    round_trip(log)
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"\n".join(log.lines) + b"\n" + b'{"stage": "Resp')
    offset = len(log.lines[0]) + 1
    assert len(read_deeds(path)) == len(log.lines)
    assert next(deed.id for deed in read_deeds(path, offset)) == "event-2"
