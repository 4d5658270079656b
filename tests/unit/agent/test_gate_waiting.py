"""What waits at a gate, and for what: a GPU or the tier's rate; and who Reject lets in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.agent.gate import Gate, Hindrance, Wish
from meltguard.agent.lane import Slot
from meltguard.agent.standing import Standing
from meltguard.agent.turns import Ticket
from meltguard.api.agent_report import LimitSource
from meltguard.api.limit_document import TierLimit, TierState
from meltguard.core.units import Gpus, Seconds, TierName, Units
from support.agents import FREE, limited

START = Seconds(0.0)
NAME = TierName("free")


def a_standing(tier: TierLimit, *, observing: bool = False) -> Standing:
    return Standing(source=LimitSource.LEASE, tiers={tier.name: tier}, fallback=tier, observing=observing)


def a_busy_gate(tier: TierLimit) -> Gate:
    """Its only GPU is taken; then the tier's limits begin."""
    gate = Gate(Gpus(1), 100, a_standing(FREE), START)
    assert isinstance(gate.place(Wish(NAME, Units(1.0)), START), Slot)
    gate.obey(a_standing(tier), START)
    return gate


def wait(gate: Gate, units: float, count: int = 1) -> None:
    for _ in range(count):
        assert isinstance(gate.place(Wish(NAME, Units(units)), START), Ticket)


def test_without_a_rate_all_wait_for_the_gpu() -> None:
    gate = a_busy_gate(FREE)
    wait(gate, 2.0, 3)
    assert (gate.waiting_for_gpu(NAME, START), gate.rate_of(NAME)) == (6.0, None)


def test_in_delay_only_what_the_rate_would_let_in_waits_for_the_gpu() -> None:
    gate = a_busy_gate(limited(FREE, TierState.DELAY, 0.5, burst=2.0))
    wait(gate, 1.0, 4)
    assert (gate.waiting_for_gpu(NAME, START), gate.rate_of(NAME)) == (2.0, 0.5)


def test_in_reject_whoever_waits_has_its_rate_already() -> None:
    gate = a_busy_gate(limited(FREE, TierState.REJECT, 0.5, burst=4.0))
    wait(gate, 2.0, 2)
    assert gate.waiting_for_gpu(NAME, START) == 4.0


def test_who_waited_before_a_limit_began_waits_for_the_gpu_only() -> None:
    gate = a_busy_gate(FREE)
    wait(gate, 1.0, 3)
    gate.obey(a_standing(limited(FREE, TierState.REJECT, 0.0, burst=1.0)), START)
    assert gate.waiting_for_gpu(NAME, START) == 3.0
    assert gate.next_turn(START) is None  # a freed GPU, not time, lets them in


def test_a_suspended_tier_has_no_rate_at_all() -> None:
    assert a_busy_gate(limited(FREE, TierState.SUSPEND, 0.0)).rate_of(NAME) == 0.0


def test_observing_holds_nobody_back() -> None:
    gate = a_busy_gate(FREE)
    gate.obey(a_standing(limited(FREE, TierState.REJECT, 0.5), observing=True), START)
    assert gate.rate_of(NAME) is None


@pytest.mark.parametrize("units", [1.0, 2.0, 8.0])
def test_reject_is_blind_to_a_requests_size(units: float) -> None:
    """Else small requests would drain the bucket that a large one must find full, and never wait for."""
    gate = Gate(Gpus(10), 100, a_standing(limited(FREE, TierState.REJECT, 1.0, burst=8.0)), START)
    assert isinstance(gate.place(Wish(NAME, Units(7.0)), START), Slot)
    assert isinstance(gate.place(Wish(NAME, Units(units)), START), Slot)
    refused = gate.place(Wish(NAME, Units(units)), START)
    assert isinstance(refused, Hindrance)
    assert refused.wait == units  # its debt is paid back first, at one unit a second


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.sampled_from([1.0, 2.0, 4.0, 8.0])), max_size=60))
def test_reject_admits_no_more_than_rate_burst_and_one_request(arrivals: list[tuple[float, float]]) -> None:
    gate = Gate(Gpus(1000), 100, a_standing(limited(FREE, TierState.REJECT, 0.7, burst=3.0)), START)
    at, admitted = 0.0, 0.0
    for pause, units in arrivals:
        at += pause
        if isinstance(gate.place(Wish(NAME, Units(units)), Seconds(at)), Slot):
            admitted += units
        assert admitted <= 0.7 * at + 3.0 + 8.0
