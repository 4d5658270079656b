"""Cheaper, dearer or equal: what is said is right, however often one looks."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.trial import ALPHA, FEWEST, MOST, SAMPLE, Comparison, Spent, Tally, Verdict, verdict

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


def test_samples_are_what_pods_spent_since_their_last() -> None:
    def spent(seconds: float, cost: float) -> Spent:
        return Spent(busy=seconds, done=seconds / cost)

    found = Comparison()
    for second in range(1, 41):
        found = found.after([("new", spent(second, 0.8))], [("a", spent(second, 1.0)), ("b", spent(second, 1.0))])
    assert found.tally.count == 39 // math.ceil(SAMPLE * 0.8)
    assert found.tally.mean == pytest.approx(math.log(0.8))


def test_an_agent_that_starts_anew_is_compared_with_itself_only() -> None:
    first = Comparison().after([("new-1", Spent(busy=100.0, done=100.0))], [("a", Spent(busy=9.0, done=9.0))])
    again = first.after([("new-2", Spent(busy=1.0, done=50.0))], [("a-2", Spent(busy=1.0, done=99.0))])
    assert again.tally.count == 0
