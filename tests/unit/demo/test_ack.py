import pytest

from meltguard.core.units import Share
from meltguard.demo.ack import histogram_quantile

TEXT = """\
# HELP acks_seconds Time.
# TYPE acks_seconds histogram
acks_seconds_bucket{policy="a",le="0.1"} 90
acks_seconds_bucket{policy="a",le="0.5"} 98
acks_seconds_bucket{policy="a",le="1.0"} 100
acks_seconds_bucket{policy="a",le="+Inf"} 100
acks_seconds_sum{policy="a"} 9
acks_seconds_count{policy="a"} 100
"""


@pytest.mark.parametrize(("share", "seconds"), [(0.45, 0.05), (0.94, 0.3), (0.99, 0.75), (1.0, 1.0)])
def test_a_quantile_lies_straight_within_its_bucket(share: float, seconds: float) -> None:
    assert histogram_quantile(TEXT, "acks_seconds", Share(share)) == pytest.approx(seconds)


def test_beyond_the_last_edge_the_edge_is_told() -> None:
    slow = TEXT.replace('le="+Inf"} 100', 'le="+Inf"} 200')

    assert histogram_quantile(slow, "acks_seconds", Share(0.99)) == pytest.approx(1.0)


def test_nothing_counted_is_nothing_known() -> None:
    empty = (
        '# TYPE acks_seconds histogram\nacks_seconds_bucket{le="+Inf"} 0\nacks_seconds_count 0\nacks_seconds_sum 0\n'
    )

    assert histogram_quantile(empty, "acks_seconds", Share(0.99)) is None
    assert histogram_quantile("", "acks_seconds", Share(0.99)) is None


def test_label_sets_are_added_up() -> None:
    other = TEXT.replace('policy="a"', 'policy="b"').split("histogram\n")[1]

    assert histogram_quantile(TEXT + other, "acks_seconds", Share(0.99)) == pytest.approx(0.75)
