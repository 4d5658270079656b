"""Few requests a second come in clumps: a shortage of theirs breaks nobody's work off until it is more than chance."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.api.memory import read_memory, write_memory
from meltguard.core.chance import DEVIATIONS, FORGOTTEN, NO_EXCESS, Counted, Excess
from meltguard.core.decide import decide
from meltguard.core.decision import Shortage
from meltguard.core.fleet import NodeView
from meltguard.core.load import A_UNIT, TierLoad
from meltguard.core.loans import choose_loans
from meltguard.core.memory import Memory
from meltguard.core.pools import assign
from meltguard.core.units import Gpus, Instant, NodeName, Seconds, Units, UnitsPerSecond
from support.core_values import FREE, SURELY, a_node, a_pod, a_policy, a_pool, a_snapshot
from support.drain_world import EVICTION
from support.shortages import NOW, a_shortage

TICK = Seconds(2.0)
RATES = st.floats(0.01, 1000.0)


def singles(beyond: float, asked: float) -> Excess:
    """Of requests for one unit each."""
    return Excess(Units(beyond), Units(asked), asked)


def lasting(excess: Excess, *nodes: NodeView) -> Shortage:
    """8 GPUs that do 0.03 units a second each are missing for a demand of 1.2."""
    lending = a_pool().lending
    assert lending is not None
    pools = assign([a_pool("inference"), a_pool(lending=replace(lending, eviction=EVICTION, floor=0))], list(nodes))
    short = a_shortage(8, order=())
    seen, demand = replace(short.seen, pools=pools), UnitsPerSecond(1.2)
    return replace(short, seen=seen, demand=demand, beyond=UnitsPerSecond(0.24), excess=excess)


def busy(name: str) -> NodeView:
    pod = a_pod(f"{name}-0", node=NodeName(name), gang=f"Job lab/{name}", started_at=Instant(NOW - 3600.0))
    return a_node(name, pods=(pod,))


@given(demand=RATES, share=st.floats(0.01, 0.9), lasted=st.floats(0.0, 100.0))
def test_it_is_sure_when_it_was_said_to_be(demand: float, share: float, lasted: float) -> None:
    """Nothing is forgotten while it lasts."""
    asked, beyond = UnitsPerSecond(demand), UnitsPerSecond(share * demand)
    excess = singles(beyond * lasted, asked * lasted)
    left = excess.sure_in(asked, beyond)
    assert left is not None
    if left > 0:
        then = lasted + left
        assert beyond * then == pytest.approx(DEVIATIONS * (asked * then) ** 0.5)
    else:
        assert excess.is_sure


@given(demand=RATES, share=st.floats(0.01, 0.9), times=st.floats(1.0, 100.0))
def test_a_larger_fleet_is_sure_sooner(demand: float, share: float, times: float) -> None:
    small = NO_EXCESS.sure_in(UnitsPerSecond(demand), UnitsPerSecond(share * demand))
    large = NO_EXCESS.sure_in(UnitsPerSecond(times * demand), UnitsPerSecond(times * share * demand))
    assert small is not None
    assert large is not None
    assert large <= small + 1e-9


def passes(seed: int, asked: float, serves: float, minutes: float, sizes: tuple[float, ...] = (1.0,)) -> list[Excess]:
    """Of requests that come by chance, for that many units a second; each for as many as chance says."""
    chance, found = random.Random(seed), [NO_EXCESS]  # noqa: S311 - a law's trial
    often = asked / (sum(sizes) / len(sizes))
    for _ in range(int(60.0 * minutes / TICK)):
        arrived = list[float]()
        moment = chance.expovariate(often)
        while moment < TICK:
            arrived.append(chance.choice(sizes))
            moment += chance.expovariate(often)
        tier = TierLoad(
            offered=UnitsPerSecond(sum(arrived) / TICK),
            admitted=UnitsPerSecond(0.0),
            waiting=Units(0.0),
            wait_p99=Seconds(0.0),
            size=Units(sum(one * one for one in arrived) / sum(arrived)) if arrived else A_UNIT,
        )
        found.append(found[-1].after(Counted(tier.offered, tier.swings), UnitsPerSecond(serves), TICK))
    return found


def test_what_the_gpus_can_do_is_seldom_taken_for_a_shortage_and_a_surge_always_is() -> None:
    """A request a second, of GPUs that do a quarter more; then of GPUs that do a quarter less."""
    wrong = sum(any(one.is_sure for one in passes(seed, 1.0, 1.25, 60.0)) for seed in range(10, 20))
    missed = sum(not any(one.is_sure for one in passes(seed, 1.0, 0.75, 10.0)) for seed in range(10, 20))
    single = sum(one.beyond > 0 for one in passes(0, 1.0, 1.25, 60.0))
    assert wrong <= 1, "in ten hours"
    assert missed == 0
    assert single > 100, "single readings are beyond again and again"


def alarms(sizes: tuple[float, ...], often: float = 1.0, *, counted: bool = True) -> int:
    """In forty hours of so many units a second: in how many it was sure of a shortage. GPUs do a little more."""
    found = (passes(seed, often, often + 0.25 * often**0.5, 60.0, sizes) for seed in range(40))
    if counted:
        return sum(any(one.is_sure for one in hour) for hour in found)
    return sum(any(replace(one, variance=one.asked).is_sure for one in hour) for hour in found)


def test_large_requests_come_in_larger_clumps_and_are_no_more_often_a_shortage() -> None:
    few_large = (1.0, 1.0, 1.0, 4.0)
    assert alarms(few_large) <= 2
    assert alarms(few_large, counted=False) > 8, "as though each asked for one"


def test_nor_where_many_small_ones_come_between_two_readings_and_a_few_large_ones() -> None:
    """Sixteen images each: as though all were of the average size, it was sure of a shortage in most hours."""
    assert alarms((*(1.0,) * 7, 16.0), often=5.0) <= alarms((1.0,), often=5.0) <= 4


def test_a_tier_whose_requests_nobody_counts_is_taken_to_ask_for_single_units() -> None:
    tier = TierLoad(
        offered=UnitsPerSecond(6.0), admitted=UnitsPerSecond(0.0), waiting=Units(0.0), wait_p99=Seconds(0.0)
    )
    sizes = {tier.size: tier.swings} | {size: replace(tier, size=Units(size)).swings for size in (0.25, 4.0)}
    assert sizes == {1.0: 6.0, 0.25: 6.0, 4.0: 24.0}


def test_what_is_over_is_forgotten() -> None:
    surge = singles(1000.0, 3000.0)
    calm = surge.after(Counted(UnitsPerSecond(1.0), 1.0), UnitsPerSecond(1.0), FORGOTTEN)
    assert calm.beyond == pytest.approx(368.0, abs=0.5)
    assert surge.after(Counted(UnitsPerSecond(1.0), 1.0), UnitsPerSecond(20.0), Seconds(60.0)) == NO_EXCESS


def test_every_shortage_that_stays_is_sure_some_day() -> None:
    """However small it is; and when it was said to be."""
    asked, serves = UnitsPerSecond(0.05), UnitsPerSecond(0.045)
    said, excess, lasted = NO_EXCESS.sure_in(asked, UnitsPerSecond(asked - serves)), NO_EXCESS, 0.0
    assert said is not None
    while not excess.is_sure:
        excess, lasted = excess.after(Counted(asked, asked), serves, TICK), lasted + TICK
    assert lasted == pytest.approx(said, abs=2 * TICK)


def test_work_is_broken_off_only_for_what_is_sure() -> None:
    plan, rules = choose_loans(lasting(singles(9.0, 45.0), busy("gpu-1")))
    assert plan == ()
    (fits,) = [one for one in rules if one.rule == "a node fits"]
    said = "is in use, and 0.24 units a second of 1.20 beyond what serves may be chance: "
    assert f"{said}work is stopped if that lasts 150 s more" in fits.text
    assert fits.until == pytest.approx(NOW + 150.0, abs=0.1)
    (borrow,), _ = choose_loans(lasting(SURELY, busy("gpu-1")))
    assert borrow.victims == ("Job lab/gpu-1",)


def test_an_idle_node_is_lent_for_any_shortage() -> None:
    (borrow,), _ = choose_loans(lasting(NO_EXCESS, busy("gpu-1"), a_node("gpu-2")))
    assert borrow.node == "gpu-2"


def test_what_a_calendar_asks_for_is_none_of_chances() -> None:
    short = replace(lasting(NO_EXCESS, busy("gpu-1")), missing=Gpus(8), beyond=UnitsPerSecond(-1.0))
    plan, (*_, fits, _) = choose_loans(replace(short, planned=True))
    assert [borrow.node for borrow in plan] == ["gpu-1"]
    plan, (*_, fits, _) = choose_loans(short)
    assert plan == ()
    assert "a demand of 1.20 units a second is not beyond what serves" in fits.text


def test_it_is_summed_up_over_passes_and_a_restart() -> None:
    policy, seen = a_policy(), a_snapshot({FREE: 20.0})
    memory = Memory(units_per_gpu=UnitsPerSecond(1.0))
    first = decide(policy, memory, seen, NOW).memory
    again = decide(policy, read_memory(write_memory(first)), seen, Instant(NOW + TICK)).memory
    silent = decide(policy, again, replace(seen, loads=()), Instant(NOW + TICK + 0.1)).memory
    assert silent.excess == again.excess, "who hears nothing for a pass forgets nothing"
    later = decide(policy, again, seen, Instant(NOW + 2 * TICK)).memory
    assert later.excess.beyond > again.excess.beyond > 0
