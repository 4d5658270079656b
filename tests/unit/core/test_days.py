"""Whole days through decide(): what is moved, and how often back and forth."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.core.level import ENTER
from meltguard.core.policy import Level
from support.day_world import CAPACITY, RETURN_AFTER, Day, noisy

HOUR = 3600.0


def an_ordinary_day(at: float, chance: random.Random) -> float:
    wave = 0.57 - 0.23 * math.cos(at / HOUR / 24.0 * 2.0 * math.pi)
    return CAPACITY * wave + chance.gauss(0, 0.5)


def a_surge(at: float, _: random.Random) -> float:
    return CAPACITY * (1.5 if 600 <= at < 2 * HOUR else 0.4)


def test_a_steady_day_moves_nothing_and_evicts_nobody() -> None:
    """Trough at a third of capacity, peak at four fifths, and the noise of every day."""
    day = Day(demand=an_ordinary_day)
    day.run(24 * HOUR)
    assert day.borrowed == []
    assert day.evictions == 0


def test_a_surge_borrows_what_it_needs_and_gives_it_back() -> None:
    """The test above would hold of a world in which nothing ever moves."""
    day = Day(demand=a_surge)
    day.run(4 * HOUR)
    assert len(day.borrowed) == 2
    assert {name for _, name in day.returned} == {name for _, name in day.borrowed}


@settings(max_examples=6, deadline=None)
@given(level=st.floats(0.75, 1.6), noise=st.floats(0.0, 0.25), seed=st.integers(0, 1000))
def test_a_noisy_plateau_never_takes_back_at_once_what_it_gave(level: float, noise: float, seed: int) -> None:
    day = Day(demand=noisy(level, noise), seed=seed)
    day.run(3 * HOUR)
    for gone, _ in day.returned:
        again = [at for at, _ in day.borrowed if 0 <= at - gone < RETURN_AFTER]
        assert all(day.pressures[at] >= ENTER[Level.OVERLOADED] for at in again)
    for at, name in day.borrowed:
        ends = [gone for gone, other in day.returned if other == name and gone > at]
        assert all(gone - at >= RETURN_AFTER for gone in ends[:1])


@pytest.mark.parametrize(("later", "waits"), [(1.17, True), (1.6, False)], ids=["a little more", "a real surge"])
def test_what_just_went_home_is_borrowed_back_for_a_real_surge_only(later: float, *, waits: bool) -> None:
    def demand(at: float, _: random.Random) -> float:
        if at < 900:
            return CAPACITY * 1.15
        return CAPACITY * (0.5 if not day.returned else later)

    day = Day(demand=demand)
    day.run(3 * HOUR)
    gone = day.returned[0][0]
    again = [at for at, _ in day.borrowed if at > gone]
    assert again
    assert (again[0] - gone >= RETURN_AFTER) is waits


@pytest.mark.parametrize("seed", range(3))
def test_a_plateau_at_the_edge_settles(seed: int) -> None:
    """Demand just above capacity: a node may come, and then it stays; it does not wander."""
    day = Day(demand=noisy(1.02, 0.05), seed=seed)
    day.run(6 * HOUR)
    assert len(day.borrowed) <= 2
