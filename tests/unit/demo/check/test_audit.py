from pathlib import Path
from typing import Any

import pytest

from meltguard.demo.check.audit import read_audit
from meltguard.errors import InvalidInput
from support.demo_evidence import audit_lines


def event(at: str, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "Event",
        "stage": "ResponseComplete",
        "verb": "patch",
        "stageTimestamp": at,
        "user": {"username": "someone"},
        "objectRef": {"resource": "nodes", "name": "gpu-01"},
        "responseStatus": {"code": 200},
        "responseObject": {"metadata": {"name": "gpu-01"}},
        **changes,
    }


def test_writes_come_in_the_order_of_their_answers(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_bytes(audit_lines([event("2026-11-23T10:00:02.5Z"), event("2026-11-23T10:00:01.25Z", verb="update")]))

    writes = read_audit(log)

    assert [write.verb for write in writes] == ["update", "patch"]
    assert writes[1].at - writes[0].at == pytest.approx(1.25)
    assert writes[0].accepted


def test_reads_and_unfinished_requests_are_left_out(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    at = "2026-11-23T10:00:00Z"
    log.write_bytes(audit_lines([event(at, verb="get"), event(at, stage="RequestReceived"), event(at, objectRef=None)]))

    assert read_audit(log) == ()


def test_a_refusal_is_a_write_that_was_not_accepted(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_bytes(audit_lines([event("2026-11-23T10:00:00Z", responseStatus={"code": 422}, responseObject=None)]))

    assert [write.accepted for write in read_audit(log)] == [False]


def test_what_is_no_audit_log_is_named(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_bytes(b"hello\n")

    with pytest.raises(InvalidInput, match="no audit log"):
        read_audit(log)
