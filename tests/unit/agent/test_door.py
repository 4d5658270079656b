"""Refusals on their way through proxies that cannot hear them."""

import pytest

from meltguard.agent.asgi import problem
from meltguard.agent.door import lowered, must_be_closed, packed, unpacked
from meltguard.agent.settings import DecisionBounds
from meltguard.errors import InvalidInput

REFUSED = problem(429, "slowly, \u00e4 while", reason="over-rate")


def test_what_was_packed_is_unpacked() -> None:
    carried = packed(REFUSED)
    assert (carried.status, carried.body) == (403, b"")
    assert unpacked(carried.headers["x-meltguard-refusal"]) == REFUSED


@pytest.mark.parametrize("carried", ["", "e30=", "!", "WzEsMl0=", "bnVsbA=="])
def test_a_refusal_that_was_lost_is_a_refusal_all_the_same(carried: str) -> None:
    assert unpacked(carried).status == 503


@pytest.mark.parametrize(("status", "told"), [(503, 453), (429, 429), (413, 413), (500, 453)])
def test_no_refusal_looks_like_our_failure(status: int, told: int) -> None:
    assert lowered(problem(status, "no")).status == told


def test_only_a_closed_door_opens() -> None:
    must_be_closed("127.0.0.1", DecisionBounds())
    must_be_closed("0.0.0.0", DecisionBounds(secret="word"))  # noqa: S106 - a test's
    with pytest.raises(InvalidInput, match="MELTGUARD_PROXY_SECRET"):
        must_be_closed("10.0.0.7", DecisionBounds())
