from dataclasses import replace
from pathlib import Path

import pytest

from meltguard.core.units import Instant, Seconds, Share, TierName
from meltguard.errors import InvalidInput
from meltguard.rehearse.surge import Recorded, by_tier, cut, default_shares, scaled
from support.rehearsals import DAWN, a_surge, some_manifests

FREE, PRO = TierName("free"), TierName("pro")
ONE = Recorded(
    source="r.csv", times=(Seconds(0.0), Seconds(10.0)), rates={"": (10.0, 20.0)}, until=Seconds(20.0), dawn=None
)


def test_a_rate_holds_until_the_next() -> None:
    surge = a_surge()
    assert surge.rate(PRO, Seconds(59.9)) == 0.1
    assert surge.rate(PRO, Seconds(60.0)) == pytest.approx(0.4)
    assert surge.rate(PRO, Seconds(5000.0)) == 0.1
    assert surge.total(Seconds(0.0)) == 0.5
    assert surge.peak == pytest.approx(4.0)


def test_one_rate_is_shared_out(tmp_path: Path) -> None:
    policy = some_manifests(tmp_path).policy.policy
    rates = by_tier(ONE, policy, {FREE: Share(0.8), PRO: Share(0.2)})
    assert rates == {FREE: (8.0, 16.0), PRO: (2.0, 4.0)}


def test_a_tier_that_the_record_leaves_out_asks_for_nothing(tmp_path: Path) -> None:
    policy = some_manifests(tmp_path).policy.policy
    assert by_tier(replace(ONE, rates={"pro": (1.0, 2.0)}), policy, {}) == {FREE: (0.0, 0.0), PRO: (1.0, 2.0)}


def test_nine_in_ten_come_from_the_lowest_tier_unless_it_is_the_only_one(tmp_path: Path) -> None:
    policy = some_manifests(tmp_path).policy.policy
    assert default_shares(policy) == pytest.approx({FREE: 0.9, PRO: 0.1})
    assert default_shares(replace(policy, tiers=policy.tiers[:1])) == {FREE: 1.0}


def test_tiers_that_the_policy_does_not_have_are_refused(tmp_path: Path) -> None:
    policy = some_manifests(tmp_path).policy.policy
    with pytest.raises(InvalidInput, match=r"r.csv: 'gold' is no tier of the policy; it has free, pro"):
        by_tier(replace(ONE, rates={"gold": (1.0, 2.0)}), policy, {})
    with pytest.raises(InvalidInput, match="--tiers: 'gold' is no tier"):
        by_tier(ONE, policy, {TierName("gold"): Share(1.0)})


def test_scaling_keeps_the_shape() -> None:
    surge = scaled(a_surge(), 8.0)
    assert surge.peak == pytest.approx(8.0)
    assert surge.rate(PRO, Seconds(0.0)) == pytest.approx(0.2)


def test_nothing_cannot_be_scaled() -> None:
    empty = replace(a_surge(), rates={FREE: (0.0, 0.0, 0.0)})
    with pytest.raises(InvalidInput, match="every rate is 0"):
        scaled(empty, 8.0)


def test_a_record_is_cut_by_times_of_day() -> None:
    times = tuple(Seconds(60.0 * number) for number in range(5))
    whole = Recorded(source="r", times=times, rates={"": (1.0, 2.0, 3.0, 4.0, 5.0)}, until=Seconds(300.0), dawn=DAWN)
    part = cut(whole, Instant(DAWN + 60.0), Instant(DAWN + 180.0))
    assert (part.times, part.rates[""]) == ((0.0, 60.0), (2.0, 3.0))
    assert (part.until, part.dawn) == (120.0, DAWN + 60.0)
    assert cut(whole, Instant(0.0), Instant(DAWN + 1e6)) == whole


def test_a_record_that_cannot_be_cut_says_why() -> None:
    with pytest.raises(InvalidInput, match="tells no times of day"):
        cut(ONE, DAWN, DAWN)
    with pytest.raises(InvalidInput, match="has nothing between --from and --to"):
        cut(replace(ONE, dawn=DAWN), Instant(DAWN + 60.0), Instant(DAWN + 90.0))
