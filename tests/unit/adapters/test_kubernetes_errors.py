import json
from typing import Any

import pytest

from meltguard.adapters.kubernetes_errors import Expired, Missing, NotServed, Refusal, Status, error_of, read_status
from meltguard.errors import Conflict, Fenced, InvalidInput, MeltguardError, Unavailable


def refused(code: int, message: str = "", headers: dict[str, str] | None = None, **details: Any) -> MeltguardError:
    body = {"kind": "Status", "code": code, "message": message, "details": details}
    status = read_status(json.dumps(body).encode())
    return error_of(Refusal(doing="PATCH /api/v1/nodes/n1", code=code, headers=headers or {}, status=status))


FENCE = "nodes \"n1\" is forbidden: ValidatingAdmissionPolicy 'meltguard-fence' denied request: epoch 3 is not 4"
KEYS = "nodes \"n1\" is forbidden: ValidatingAdmissionPolicy 'meltguard-node-keys' denied request: not managed"
FAILED_TEST = "the server rejected our request due to an error in our request"
CAUSES = [{"reason": "FieldValueInvalid", "message": "must be positive", "field": "spec.replicas"}]
OTHER_UID = [{"reason": "FieldValueInvalid", "message": "field is immutable", "field": "metadata.uid"}]

MEANINGS: dict[str, tuple[MeltguardError, type[MeltguardError]]] = {
    "the object is gone": (refused(404, "not found", name="n1", kind="nodes"), Missing),
    "the resource is not served": (refused(404, "the server could not find the requested resource"), NotServed),
    "someone else wrote it": (refused(409, "the object has been modified", name="n1"), Conflict),
    "a test of the patch failed": (refused(422, FAILED_TEST), Conflict),
    "another object bears the name": (refused(422, "is invalid", causes=OTHER_UID), Conflict),
    "the schema refuses it": (refused(422, "is invalid", causes=CAUSES), InvalidInput),
    "an old epoch, as 403": (refused(403, FENCE, name="n1"), Fenced),
    "an old epoch, as 422": (refused(422, FENCE, name="n1"), Fenced),
    "another admission policy, as 403": (refused(403, KEYS, name="n1"), InvalidInput),
    "another admission policy, as 422": (refused(422, KEYS, name="n1"), InvalidInput),
    "not granted": (refused(403, "cannot patch"), Unavailable),
    "not known": (refused(401, "Unauthorized"), Unavailable),
    "too many requests": (refused(429, "slow down"), Unavailable),
    "too old": (refused(410, "too old resource version"), Expired),
    "not JSON": (refused(400, "cannot decode"), InvalidInput),
    "the server is in trouble": (refused(500, "etcdserver: no leader"), Unavailable),
    "the server is starting": (refused(503, ""), Unavailable),
}


@pytest.mark.parametrize(("error", "expected"), MEANINGS.values(), ids=MEANINGS)
def test_a_refusal_means(error: MeltguardError, expected: type[MeltguardError]) -> None:
    assert type(error) is expected
    assert "PATCH /api/v1/nodes/n1" in str(error)


def test_a_missing_object_is_a_conflict_to_who_only_asks_for_that() -> None:
    assert isinstance(refused(404, "not found", name="n1"), Conflict)


def test_a_missing_grant_names_what_to_do() -> None:
    message = 'nodes "n1" is forbidden: User "system:serviceaccount:m:o" cannot patch resource "nodes"'
    error = refused(403, message)
    assert "grant it in the chart's RBAC" in str(error)
    assert 'cannot patch resource "nodes"' in str(error)


WAITS = {
    "as the header says": ({"Retry-After": "7"}, {}, 7.0),
    "as the details say": ({}, {"retryAfterSeconds": 3}, 3.0),
    "a second where nothing is said": ({}, {}, 1.0),
    "a minute at most": ({"Retry-After": "86400"}, {}, 60.0),
    "a second where a date is said": ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, {}, 1.0),
}


@pytest.mark.parametrize(("headers", "details", "expected"), WAITS.values(), ids=WAITS)
def test_retry_after_is_kept(headers: dict[str, str], details: dict[str, Any], expected: float) -> None:
    error = refused(429, "slow down", headers, **details)
    assert isinstance(error, Unavailable)
    assert error.retry_after == expected


def test_a_budget_that_forbids_an_eviction_is_named() -> None:
    causes = [{"reason": "DisruptionBudget", "message": "The disruption budget web needs 2 healthy pods and has 2"}]
    error = refused(429, "Cannot evict pod", causes=causes)
    assert "disruption budget web needs 2" in str(error)


def test_a_cause_that_the_message_repeats_is_told_once() -> None:
    assert str(refused(422, "spec.replicas: must be positive", causes=CAUSES * 2)).count("must be positive") == 1


def test_a_proxy_page_becomes_a_short_text() -> None:
    status = read_status(b"<html>" + b"x" * 10_000)
    error = error_of(Refusal(doing="GET /", code=502, headers={}, status=status))
    assert isinstance(error, Unavailable)
    assert len(str(error)) < 600


def test_bytes_that_are_no_text_do_not_hurt() -> None:
    assert read_status(b"\xff\xfe\x00") == Status(message=b"\xff\xfe\x00".decode(errors="replace").strip())
