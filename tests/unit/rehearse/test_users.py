from statistics import fmean

import pytest

from meltguard.core.units import TierName
from meltguard.rehearse.fleet_plan import ServicePlan
from meltguard.rehearse.users import mean_seconds, mean_units, requests_of, work_of
from meltguard.sim.spread import seeded
from support.rehearsals import a_surge

ALIKE = ServicePlan(seconds_per_image="6s")  # type: ignore[arg-type] # as it is written


def test_images_that_are_all_alike() -> None:
    assert work_of(ALIKE)(seeded(1)) == (1.0, 6.0)
    assert (mean_units(ALIKE), mean_seconds(ALIKE)) == (1.0, 6.0)


def test_recorded_requests_have_the_means_that_are_said() -> None:
    work, chance = work_of(ServicePlan()), seeded(1)
    drawn = [work(chance) for _ in range(20_000)]
    assert {units for units, _ in drawn} == {1.0, 2.0, 4.0, 8.0}
    assert fmean(units for units, _ in drawn) == pytest.approx(mean_units(ServicePlan()), rel=0.03)
    assert fmean(seconds for _, seconds in drawn) == pytest.approx(mean_seconds(ServicePlan()), rel=0.03)


def test_requests_come_in_order_at_their_tiers_rates() -> None:
    surge = a_surge()
    requests = list(requests_of(surge, ALIKE, 1))
    times = [one.at for one in requests]
    assert times == sorted(times)
    assert [one.number for one in requests] == list(range(len(requests)))
    peak = [one for one in requests if 60.0 <= one.at < 300.0]
    assert len(peak) / 240.0 == pytest.approx(surge.peak, rel=0.1)
    assert sum(one.tier == TierName("pro") for one in peak) / len(peak) == pytest.approx(0.1, abs=0.04)
