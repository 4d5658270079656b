"""Cheaper, dearer or equal: what is said is right, however often one looks."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.trial import ALPHA, FEWEST, MOST, Tally, Verdict, verdict

BY = 0.05


def judged(factor: float, seed: int, noise: float = 0.25) -> tuple[Verdict, int]:
    """A trial in which every sample strays by a quarter; looked at after each pair."""
    dice = random.Random(seed)  # noqa: S311 - a rehearsal, no secret
    tally = Tally()
    while (said := verdict(tally, BY)) is Verdict.OPEN:
        tally = tally.with_pair(factor * math.exp(dice.gauss(0, noise)), math.exp(dice.gauss(0, noise)))
    return said, tally.count


@pytest.mark.parametrize(("factor", "wanted"), [(0.8, Verdict.CHEAPER), (1.2, Verdict.DEARER), (1.0, Verdict.EQUAL)])
def test_a_fifth_is_found_out_and_equal_ones_are_equal(factor: float, wanted: Verdict) -> None:
    said = [judged(factor, seed)[0] for seed in range(60)]
    assert said.count(wanted) >= 59


def test_what_makes_no_difference_is_promoted_no_oftener_than_stated() -> None:
    """At the edge, where it is hardest: exactly as much cheaper as is asked for."""
    wrong = sum(judged(1.0 - BY, seed)[0] is Verdict.CHEAPER for seed in range(200))
    assert wrong <= 200 * ALPHA + 4


def test_nothing_is_said_of_a_few_pairs() -> None:
    tally = Tally()
    for _ in range(FEWEST - 1):
        tally = tally.with_pair(0.1, 1.0)
        assert verdict(tally, BY) is Verdict.OPEN


def test_pairs_that_follow_one_another_alike_say_less() -> None:
    """Each keeps a third of the one before: counted as independent, 16 of these 200 trials would be wrong."""
    wrong = 0
    for seed in range(200):
        dice, tally, stray = random.Random(seed), Tally(), 0.0  # noqa: S311 - a rehearsal, no secret
        while verdict(tally, BY) is Verdict.OPEN:
            stray = stray / 3 + dice.gauss(0, 0.33)
            tally = tally.with_pair((1.0 - BY) * math.exp(stray), 1.0)
        wrong += verdict(tally, BY) is Verdict.CHEAPER
    assert wrong <= 10


def test_what_drifts_is_told_from_what_strays() -> None:
    steady, drifting = Tally(), Tally()
    for n in range(60):
        steady = steady.with_pair(math.exp(0.1 * (-1) ** n), 1.0)
        drifting = drifting.with_pair(math.exp(0.1 * (1 if n < 30 else -1)), 1.0)
    assert steady.kept == 0.0
    assert drifting.kept > 0.8
    assert drifting.half_width > 3 * steady.half_width


def test_a_trial_ends() -> None:
    assert verdict(Tally(count=MOST, mean=-0.05, spread=900.0), BY) is Verdict.EQUAL


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=2, max_size=50))
def test_the_tally_is_mean_and_deviation(pairs: list[tuple[float, float]]) -> None:
    tally = Tally()
    for new, old in pairs:
        tally = tally.with_pair(new, old)
    values = [math.log(new / old) for new, old in pairs]
    mean = math.fsum(values) / len(values)
    assert tally.mean == pytest.approx(mean, abs=1e-9)
    assert tally.spread == pytest.approx(math.fsum((v - mean) ** 2 for v in values), abs=1e-6)
