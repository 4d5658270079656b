"""The simulated world: nothing is lost, nothing comes from nothing, and a seed repeats."""

import pytest

from meltguard.core.units import Celsius, Seconds, TierName, UnitsPerSecond
from meltguard.sim.changes import Change, Heat, Loan, Loss, Restart
from meltguard.sim.heat import BUSY_CLOCK, SLOW_CLOCK
from meltguard.sim.ledger import Ledger, Sample
from support.core_values import FREE, PLUS
from support.sim_world import CAPACITY, SERVICE, a_setting, a_world

CHANGES: dict[str, tuple[Change, ...]] = {
    "nothing else happens": (),
    "a node is lost": (Loss(nodes=(0,), since=Seconds(150.0), until=Seconds(250.0)),),
    "every node is lost": (Loss(nodes=(0, 1), since=Seconds(150.0), until=Seconds(170.0)),),
    "a node is lent": (Loan(claimed=Seconds(120.0), load=Seconds(22.0), until=Seconds(300.0)),),
    "a node runs hot": (Heat(node=0, since=Seconds(100.0), until=Seconds(400.0), loaded=Celsius(95.0)),),
    "the operator restarts": (Restart(at=Seconds(200.0), down=Seconds(20.0), remembers=True),),
    "the operator forgets": (Restart(at=Seconds(200.0), down=Seconds(20.0), remembers=False),),
}


def ran(changes: tuple[Change, ...] = (), seed: int = 1) -> Ledger:
    return a_world(a_setting(seed, changes=changes)).run()


def gpus_there(ledger: Ledger) -> float:
    """GPU-seconds that ready pods had."""
    return sum(one.gpus * one.span for one in ledger.samples)


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_every_request_is_admitted_refused_or_waits(changes: tuple[Change, ...]) -> None:
    ledger = ran(changes)
    offered = sum(sums.offered for sums in ledger.tiers.values())
    ended = sum(sums.admitted + sums.refused for sums in ledger.tiers.values())
    assert offered == ended + ledger.waiting
    assert offered > 1000
    for sums in ledger.tiers.values():
        assert len(sums.waits) == sums.admitted
        assert len(sums.turned_away) == sums.refused
        assert 0 <= sums.admitted - sums.done <= 24  # what runs at the end


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_no_capacity_is_created(changes: tuple[Change, ...]) -> None:
    """Images take GPU time that is there; a node that leaves finishes what runs, at most one image a GPU."""
    ledger = ran(changes)
    done = sum(sums.done for sums in ledger.tiers.values())
    assert done * SERVICE <= gpus_there(ledger) + len(changes) * 16 * SERVICE
    assert all(one.busy <= one.gpus * one.span + 1e-6 for one in ledger.samples)


def test_the_same_seed_gives_the_same_run_and_another_one_another() -> None:
    first, again, other = ran(), ran(), ran(seed=2)
    assert first.samples == again.samples
    assert first.tiers == again.tiers
    assert first.tiers != other.tiers


def test_nobody_waits_longer_than_the_tier_lets_them() -> None:
    ledger = ran()
    assert all(wait <= 30.0 + 1e-9 for sums in ledger.tiers.values() for _, wait in sums.waits)


def test_a_surge_is_held_by_the_lower_tier_and_fills_the_gpus() -> None:
    ledger = ran()
    surge = ledger.busy(lambda one: 150.0 <= one.at < 400.0)
    assert surge > 0.94
    assert ledger.tiers[PLUS].refused == 0
    assert ledger.tiers[FREE].refused > 1000
    assert not any(PLUS in one.rates for one in ledger.samples)


def test_no_limit_is_published_while_demand_fits() -> None:
    ledger = ran()
    assert not any(one.rates for one in ledger.samples if one.at < 100.0)
    assert any(one.rates for one in ledger.samples if 110.0 <= one.at < 400.0)


def test_limits_are_lifted_entirely_when_the_surge_is_over() -> None:
    ledger = a_world(a_setting(until=900.0)).run()
    assert ledger.samples[-1].rates == {}


def test_a_hot_node_is_slow_and_its_capacity_is_not_counted_on() -> None:
    hot = ran(CHANGES["a node runs hot"])
    cool = ran()
    assert SLOW_CLOCK < BUSY_CLOCK
    assert _images(hot) < _images(cool)
    assert _believed(hot, 300.0) < 0.9 * _believed(cool, 300.0)


def test_lost_nodes_lower_the_limit_and_lent_ones_raise_it() -> None:
    plain, lost, lent = ran(), ran(CHANGES["a node is lost"]), ran(CHANGES["a node is lent"])
    assert _limit(lost, 200.0) < _limit(plain, 200.0) < _limit(lent, 280.0)


def test_a_law_that_forgot_everything_opens_nothing() -> None:
    """Learning mode: the pods' limits are adopted, so that a restart in a surge lets no flood in."""
    ledger = ran(CHANGES["the operator forgets"])
    before = _limit(ledger, 198.0)
    after = [one.rates.get(FREE) for one in ledger.samples if 222.0 <= one.at < 260.0]
    known = [rate for rate in after[4:] if rate is not None]
    assert len(known) == len(after[4:])
    assert all(0.5 * before <= rate <= 1.5 * before for rate in known)


def test_the_law_learns_what_a_gpu_does() -> None:
    assert _believed(ran(), 300.0) == pytest.approx(CAPACITY, rel=0.05)


def _images(ledger: Ledger) -> float:
    return sum(sums.done_units for sums in ledger.tiers.values())


def _sample(ledger: Ledger, at: float) -> Sample:
    return next(one for one in ledger.samples if one.at >= at)


def _limit(ledger: Ledger, at: float, tier: TierName = FREE) -> UnitsPerSecond:
    return _sample(ledger, at).rates[tier]


def _believed(ledger: Ledger, at: float) -> UnitsPerSecond:
    capacity = _sample(ledger, at).capacity
    assert capacity is not None
    return capacity
