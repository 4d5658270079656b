"""How a run's figures are counted."""

import pytest

from meltguard.core.policy import Level
from meltguard.core.units import Gpus, Seconds, Share, TierName, UnitsPerSecond
from meltguard.sim.ledger import Sample, quantile, reversals

FREE = TierName("free")
RATES: dict[str, tuple[list[float | None], int]] = {
    "never limited": ([None] * 30, 0),
    "limited for a surge, then lifted": ([None, *[4.0] * 40, None], 0),
    "limited for ten seconds, then lifted": ([None, *[4.0] * 5, None], 1),
    "small steps of one fall": ([8.0, 7.0, 6.0, 5.0, 4.0, 3.0], 0),
    "chance of less than a step": ([5.0, 5.3, 5.0, 5.3, 5.0], 0),
    "a saw": ([5.0, 3.0, 5.0, 3.0, 5.0, 3.0], 4),
    "on and off": ([None, 0.0] * 10, 18),
}


def at_tick(number: int, rate: float | None) -> Sample:
    return Sample(
        at=Seconds(2.0 * number),
        gpus=Gpus(8),
        busy=16.0,
        span=Seconds(2.0),
        offered={},
        rates={} if rate is None else {FREE: UnitsPerSecond(rate)},
        level=Level.NORMAL,
        capacity=None,
        trim=1.0,
        hottest=60.0,
    )


@pytest.mark.parametrize(("rates", "turns"), RATES.values(), ids=RATES)
def test_changes_of_direction(rates: list[float | None], turns: int) -> None:
    samples = [at_tick(number, rate) for number, rate in enumerate(rates)]
    assert reversals(samples, FREE, UnitsPerSecond(0.5), Seconds(60.0), UnitsPerSecond(20.0)) == turns


def test_a_quantile_of_nothing_is_nothing() -> None:
    assert quantile([], Share(0.99)) == 0.0


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.99, 99), (1.0, 100)])
def test_quantiles_are_values_that_occurred(share: float, value: int) -> None:
    assert quantile(range(100, 0, -1), Share(share)) == value
