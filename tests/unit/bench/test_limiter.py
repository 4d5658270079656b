"""The report of `make bench-limiter`: spread beside each figure, and goals that are missed where they are."""

import pytest

from bench.bench_limiter import decision_rows, middleware_rows
from bench.limiter_inprocess import Cost, decisions, interleaved
from support.eventually import soon

FOUND = {
    "meltguard": Cost([2.0, 1.0, 4.0]),
    "meltguard, feature open to all": Cost([1.5, 0.5, 3.0]),
    "limits fixed window": Cost([3.0, 1.5, 9.0]),
}


def test_a_decisions_row_bears_its_spread_and_its_peers() -> None:
    alone, ahead, share = decision_rows(FOUND)
    assert (alone["value"], alone["met"], ahead["met"]) == (500_000.0, False, True)
    assert alone["spread"] == {"least": 250_000.0, "median": 500_000.0, "most": 1_000_000.0}
    assert ahead["peerSpread"]["most"] == pytest.approx(666_666.667)
    assert (share["name"], share["value"]) == ("featureShareAdds", 0.5)
    assert share["spread"] == {"least": 0.5, "median": 0.5, "most": 1.0}


def test_who_is_slower_than_a_peer_misses_the_row() -> None:
    slower = {**FOUND, "limits fixed window": Cost([1.9, 1.9, 1.9])}
    assert [row["met"] for row in decision_rows(slower)][:2] == [False, False]


def test_what_a_middleware_adds_is_spread_round_by_round() -> None:
    found = {
        "bare app": Cost([1.0, 2.0]),
        "bare app + meltguard": Cost([11.0, 14.0]),
        "starlette": Cost([5.0, 5.0]),
        "starlette + slowapi": Cost([45.0, 45.0]),
    }
    alone, both = middleware_rows(found)
    assert alone["spread"] == {"least": 10.0, "median": 11.0, "most": 12.0}
    assert (alone["met"], both["met"], both["peerValue"]) == (False, True, 40.0)


async def test_a_full_decision_looks_the_features_share_up_and_admits_those_who_have_it() -> None:
    loops = {name: loop for name, loop in decisions().items() if name.startswith("meltguard")}
    async with soon(30.0):
        found = await interleaved(loops, 1, 100)
    assert set(found) == {"meltguard", "meltguard, feature open to all", "meltguard refusing"}
