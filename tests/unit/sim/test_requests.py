"""Who comes when: drawn by the seed, as many as the shape says."""

from itertools import pairwise

import pytest

from meltguard.core.units import Gpus, Seconds, Share, TierName
from meltguard.sim.fitted import from_figures, shipped
from meltguard.sim.requests import Asked, Crowd, alike, crowded, numbered
from meltguard.sim.spread import Envelope

FREE, PLUS = TierName("free"), TierName("plus")


def a_crowd(load: Envelope) -> Crowd:
    return Crowd(
        recording=from_figures(shipped()),
        shares=((FREE, Share(0.9)), (PLUS, Share(0.1))),
        gpus=Gpus(64),
        load=load,
        length=Seconds(7200.0),
        peak=1.0,
        base=0.5,
    )


def test_requests_come_in_order_and_bear_their_numbers() -> None:
    requests = list(numbered(crowded(a_crowd(Envelope((0.0, 1.0), (1.0, 1.0))), 1)))
    assert [one.number for one in requests] == list(range(len(requests)))
    assert all(one.at <= other.at for one, other in pairwise(requests))
    assert all(one.units >= 1 and one.seconds > 0 for one in requests)


def test_the_offered_gpu_time_is_what_the_shape_says() -> None:
    requests = list(crowded(a_crowd(Envelope((0.0, 1.0), (1.0, 1.0))), 1))
    offered = sum(seconds for *_, seconds in requests)
    assert offered == pytest.approx(1.5 * 64 * 7200, rel=0.08)


def test_the_shape_is_followed() -> None:
    rising = [at for at, *_ in crowded(a_crowd(Envelope((0.0, 1.0), (0.0, 1.0))), 1)]
    early = sum(at < 3600 for at in rising)
    assert early / len(rising) == pytest.approx(0.375, abs=0.03)  # (0.5 + 0.25) of (0.5 + 0.25 + 0.5 + 0.75)


def test_tiers_are_drawn_by_users() -> None:
    tiers = [tier for _, tier, *_ in crowded(a_crowd(Envelope((0.0, 1.0), (1.0, 1.0))), 1)]
    assert tiers.count(PLUS) / len(tiers) == pytest.approx(0.1, abs=0.06)


def test_a_seed_repeats_and_another_differs() -> None:
    shape = Envelope((0.0, 1.0), (1.0, 1.0))
    first, again, other = (list(crowded(a_crowd(shape), seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_a_plain_stream_has_its_rate() -> None:
    asked = Asked(tier=FREE, rate=lambda at: 4.0 if at < 500 else 0.0, most=4.0, seconds=Seconds(6.0))
    times = [at for at, *_ in alike(asked, Seconds(1000.0), 1)]
    assert len(times) == pytest.approx(2000, rel=0.1)
    assert max(times) < 500
