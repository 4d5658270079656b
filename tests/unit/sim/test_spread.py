import pytest

from meltguard.core.units import Share
from meltguard.sim.spread import Envelope, Quantiles, Rows, seeded


def test_rows_give_back_rows_and_nothing_between_them() -> None:
    rows = Rows((1.0, 5.0, 9.0))

    drawn = {rows.at(Share(share / 100)) for share in range(101)}

    assert drawn == {1.0, 5.0, 9.0}


@pytest.mark.parametrize(
    ("share", "expected"), [(-1.0, 2.0), (0.0, 2.0), (0.25, 3.0), (0.5, 4.0), (0.9, 12.0), (1.0, 14.0)]
)
def test_quantiles_are_straight_between_levels_and_cut_off_at_the_ends(share: float, expected: float) -> None:
    assert Quantiles((0.0, 0.5, 1.0), (2.0, 4.0, 14.0)).at(Share(share)) == pytest.approx(expected)


def test_the_mean_of_a_shape_is_its_area() -> None:
    assert Envelope((0.0, 0.5, 1.0), (0.0, 1.0, 0.0)).mean() == pytest.approx(0.5)


def test_chance_repeats_by_seed_and_purpose() -> None:
    again = seeded(1, "users").random()

    assert seeded(1, "users").random() == again
    assert seeded(2, "users").random() != again
    assert seeded(1, "gpus").random() != again
