import json

import pytest

from meltguard.adapters.lease_shape import LeaseRecord, Term
from meltguard.core.units import Epoch, Instant, Seconds
from meltguard.errors import Unavailable

TERM = Term(holder="me", epoch=Epoch(4), duration=Seconds(15.0), acquired=Instant(0.0))


def test_what_we_do_not_know_survives_a_write() -> None:
    body = {"metadata": {"name": "l", "labels": {"helm": "x"}, "resourceVersion": "9"}, "spec": {"strategy": "Oldest"}}
    written = json.loads(LeaseRecord.read(json.dumps(body).encode()).written(TERM, Instant(1.5)))
    assert written["metadata"] == body["metadata"]
    assert written["spec"] == {
        "strategy": "Oldest",
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "acquireTime": "1970-01-01T00:00:00.000000Z",
        "renewTime": "1970-01-01T00:00:01.500000Z",
        "leaseTransitions": 4,
    }


def test_a_lease_made_empty_by_the_chart_is_nobodys() -> None:
    record = LeaseRecord.read(b'{"metadata": {"name": "l"}}')
    assert (record.holder, record.epoch) == ("", 0)


LIFETIMES = {"as written": (30, 30.0), "ours where nothing is written": (None, 15.0), "bounded": (10**9, 300.0)}


@pytest.mark.parametrize(("written", "expected"), LIFETIMES.values(), ids=LIFETIMES)
def test_another_holders_lifetime(written: int | None, expected: float) -> None:
    record = LeaseRecord.read(json.dumps({"spec": {"leaseDurationSeconds": written}}).encode())
    assert record.lifetime(Seconds(15.0)) == expected


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"spec": {"leaseTransitions": "many"}}', b"[]"])
def test_what_is_no_lease_is_refused(body: bytes) -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        LeaseRecord.read(body)
