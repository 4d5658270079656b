"""The judge of `make bench-balance`: medians over the seeds, and a load generator that had time."""

from dataclasses import replace

from bench.bench_balance import BUSIEST, LAG_GOAL, Figures, Run, rows
from support.envoy import Balancing

SAME = Figures(
    wait_p99=1.0, wait_mean=0.2, time_p99=1.5, refused=0, hot=80.0, hottest=85.0, throttled=0.1, parts={"hot": 1.0}
)


def found(wait_p99: float) -> dict[Balancing, Figures]:
    return {**dict.fromkeys(Balancing, SAME), Balancing.BY_LOAD: replace(SAME, wait_p99=wait_p99)}


def missed(waits: list[float]) -> set[str]:
    return {row["name"] for row in rows([found(wait) for wait in waits]) if not row["met"]}


def test_the_median_seed_decides_and_the_spread_is_told() -> None:
    assert missed([0.8, 0.9, 1.5]) == set()
    assert missed([0.8, 1.1, 1.5]) == {"waitP99"}
    first = rows([found(wait) for wait in (0.8, 0.9, 1.5)])[0]
    assert first["spread"] == {"least": 40.0, "median": 45.0, "most": 75.0}
    assert first["peerSpread"] == {"least": 50.0, "median": 50.0, "most": 50.0}


def test_a_load_generator_that_was_late_or_had_no_time_left_proves_nothing() -> None:
    good = Run(found=found(1.0), lag=0.001, busy=0.5)
    assert good.proves
    assert not replace(good, busy=BUSIEST + 0.01).proves
    assert not replace(good, lag=LAG_GOAL + 0.01).proves
