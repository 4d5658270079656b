from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.units import Gpus, Seconds, Share
from meltguard.demo.plan import FREE, PLUS, Surge, peak_rate, people, plan, within_quota
from meltguard.sim.recorded import recording

FITTED = recording(None)
SURGE = Surge(
    seed=5,
    speed=12.0,
    base_gpus=Gpus(24),
    peak=1.8,
    lead_in=Seconds(10.0),
    length=Seconds(120.0),
    tail=Seconds(20.0),
)
PLANNED = plan(SURGE, FITTED)


@given(st.lists(st.integers(min_value=1, max_value=8), min_size=1, max_size=12), st.booleans())
def test_only_a_last_try_goes_over_the_days_images(requests: list[int], tries: bool) -> None:  # noqa: FBT001 - drawn
    kept, over = within_quota(tuple(requests), tries_once_more=tries)

    granted = kept[:-1] if over else kept
    assert kept
    assert sum(granted) <= 3
    assert (sum(kept) > 3) == over


def test_the_plan_repeats_with_its_seed() -> None:
    assert plan(SURGE, FITTED) == PLANNED


def test_requests_come_in_order_within_the_time_and_each_key_once() -> None:
    assert [request.at for request in PLANNED] == sorted(request.at for request in PLANNED)
    assert 0 <= PLANNED[0].at < PLANNED[-1].at <= 150.0
    assert len({request.key for request in PLANNED}) == len(PLANNED)


def test_the_surge_offers_the_gpu_time_that_was_asked_for() -> None:
    peak_at = 10.0 + 120.0 * 0.532
    near = [request for request in PLANNED if abs(request.at - peak_at) < 10.0]
    moments = [Share((peak_at - 10.0 + i * 0.2 - 10.0) / 120.0) for i in range(101)]
    share = sum(float(FITTED.envelope.at(moment)) for moment in moments) / 101

    expected = 20.0 * peak_rate(SURGE, FITTED) * share
    assert len(near) == pytest.approx(expected, rel=0.15)


def test_a_free_user_asks_for_three_images_at_most_and_then_at_most_once_more() -> None:
    asked: defaultdict[str, list[int]] = defaultdict(list)
    for request in PLANNED:
        if request.tier == FREE:
            asked[request.user].append(request.images)

    assert all(sum(images[:-1]) <= 3 for images in asked.values())
    assert any(sum(images) > 3 for images in asked.values()), "the quota must have something to refuse"


def test_one_user_sends_many_and_tiers_belong_to_users() -> None:
    users = people(FITTED, 5)
    sample = [next(users) for _ in range(3000)]

    tiers = Counter(user.tier for user in sample)
    assert tiers[PLUS] / 3000 == pytest.approx(0.08, abs=0.02)
    assert max(len(user.requests) for user in sample if user.tier == PLUS) > 30


def test_twice_the_speed_is_twice_the_requests() -> None:
    fast = Surge(
        seed=5, speed=24.0, base_gpus=Gpus(24), peak=1.8, lead_in=Seconds(1.0), length=Seconds(1.0), tail=Seconds(0.0)
    )

    assert peak_rate(fast, FITTED) == pytest.approx(2 * peak_rate(SURGE, FITTED))
