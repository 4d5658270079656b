import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.agent.settings import Pace
from meltguard.agent.standing import baseline_features, baseline_limits, by_tier
from meltguard.api.limit_document import TierState
from meltguard.core.units import Seconds, TierName
from support.agents import FREE, a_baseline, limited

PACE = Pace()


def rate(waited: float, safe: float | None, most: float | None, pods: int = 1) -> float | None:
    tier = FREE.model_copy(update={"safe_rate": safe, "max_rate": most})
    return baseline_limits(a_baseline(tier, pods=pods), Seconds(waited), PACE)[0].rate


CASES = {
    "safe": (0.0, 1.0, 3.0, 1.0),
    "no safe rate": (0.0, None, 3.0, 3.0),
    "neither": (0.0, None, None, None),
    "half way": (750.0, 1.0, 3.0, 2.0),
    "half way to no maximum": (750.0, 1.0, None, 2.0),
    "no maximum in the end": (900.0, 1.0, None, None),
    "never above the maximum": (0.0, 5.0, 3.0, 3.0),
}


@pytest.mark.parametrize(("waited", "safe", "most", "expected"), CASES.values(), ids=CASES)
def test_the_baselines_rate(waited: float, safe: float | None, most: float | None, expected: float | None) -> None:
    assert rate(waited, safe, most) == expected


def test_a_rate_is_kept_by_waiting_and_a_suspended_tier_stays_so() -> None:
    tiers = (FREE.model_copy(update={"safe_rate": 1.0}), limited(FREE, TierState.SUSPEND, 0.0, name="gone"))
    states = [limit.state for limit in baseline_limits(a_baseline(*tiers), Seconds(0.0), PACE)]
    assert states == [TierState.DELAY, TierState.SUSPEND]


@settings(deadline=None)
@given(safe=st.floats(0, 10), most=st.floats(0, 100), pods=st.integers(1, 50), waits=st.lists(st.floats(0, 1000)))
def test_the_ramp_only_rises_and_stays_in_bounds(safe: float, most: float, pods: int, waits: list[float]) -> None:
    rates = [rate(waited, safe, most, pods) or 0.0 for waited in sorted(waits)]
    assert all(each <= most / pods + 1e-9 for each in rates)
    assert all(later >= sooner - 1e-9 for sooner, later in itertools.pairwise(rates))


def test_an_empty_document_leaves_the_own_guard() -> None:
    tiers, fallback = by_tier((), TierName("default"), PACE)
    assert list(tiers) == ["default"]
    assert fallback.queue == PACE.own_queue


FEATURES = {
    "kept while the surge may go on": (0.0, {"edit": 5}, 5),
    "half way back": (750.0, {"edit": 5}, 52),
    "back": (900.0, {"edit": 5}, 100),
    "never more than usual": (0.0, {"edit": 100}, 100),
    "no lease was heard": (0.0, {}, 100),
}


@pytest.mark.parametrize(("waited", "last", "expected"), FEATURES.values(), ids=FEATURES)
def test_what_the_last_lease_took_from_features_comes_back_slowly(
    waited: float, last: dict[str, int], expected: int
) -> None:
    document = a_baseline(FREE, features={"edit": 100})
    assert baseline_features(document, last, Seconds(waited), PACE) == {"edit": expected}
