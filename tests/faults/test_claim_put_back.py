"""A claim that somebody else took off and that is put back is no new loan; whatever else changes with it is."""

from faults.checker import check
from faults.promises import Promises
from support.fault_audit import ADMIN, OUT, Log, a_fleet, a_node, a_pod, claimed, evidence, round_trip

SERVING = a_pod("server", labels={"app": "image-gen"})
OFF = a_node(pool="inference", annotations={"meltguard.io/epoch": "3"})


def found(log: Log) -> set[str]:
    return {finding.invariant for finding in check(evidence(log, a_fleet()), Promises())}


def taken_off_while_it_serves() -> Log:
    log = Log()
    round_trip(log, OUT)
    log.pod(SERVING, verb="create")
    log.node(OFF, user=ADMIN, waited=5.0)
    return log


def test_put_back_as_it_was_breaks_nothing() -> None:
    log = taken_off_while_it_serves()
    log.node(claimed("Lent", "inference"))
    log.ends(SERVING)
    round_trip(log, ("Recalled", "Restored", "Home", "Released"))
    assert found(log) == set()


def test_after_it_the_node_must_still_be_as_it_was_found() -> None:
    log = taken_off_while_it_serves()
    log.node(claimed("Lent", "inference"))
    log.ends(SERVING)
    round_trip(log, ("Recalled", "Restored", "Home"))
    log.node(a_node(annotations={"meltguard.io/epoch": "3", "karpenter.sh/do-not-disrupt": "true"}))
    assert found(log) == {"S6"}


def test_a_node_is_not_opened_under_its_cover() -> None:
    log = Log()
    round_trip(log, ("Claimed", "Cordoned", "Relabelled"))
    log.pod(a_pod(), verb="create")
    log.node(a_node(pool="inference", cordoned=True, annotations={"meltguard.io/epoch": "3"}), user=ADMIN, waited=5.0)
    log.node(claimed("Lent", "inference"))
    assert "S8" in found(log)


def test_another_move_is_a_new_loan() -> None:
    log = taken_off_while_it_serves()
    log.node(claimed("Lent", "inference", claim={"moveId": "m2"}))
    assert "S8" in found(log)


def test_what_we_ended_ourselves_is_not_put_back() -> None:
    log = Log()
    round_trip(log)
    log.node(claimed("Claimed"))
    assert found(log) == {"S9"}, "it came home and must rest"
