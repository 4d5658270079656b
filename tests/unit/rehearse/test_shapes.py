import pytest

from meltguard.errors import InvalidInput
from meltguard.rehearse.shapes import SHAPES, read_shape
from support.rehearsals import DAWN


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_one_rate_a_minute_and_a_peak_of_one(name: str) -> None:
    shape = read_shape(name)
    assert len(shape.times) == len(shape.rates[""]) == shape.until / 60.0
    assert max(shape.rates[""]) == pytest.approx(1.0, abs=0.02)
    assert min(shape.rates[""]) > 0.0


def test_the_day_begins_at_midnight() -> None:
    assert read_shape("day").dawn == DAWN - 9 * 3600.0
    assert read_shape("step").dawn is None


def test_an_unknown_shape_names_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="shapes are flash-crowd, step, viral, day"):
        read_shape("tsunami")
