"""What a pod does by itself between pushes, operator and store gone: by its own predicted wait, the lowest first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.agent.gate import Gate, Hindrance, Placed, Wish
from meltguard.agent.lane import Slot
from meltguard.agent.refusal import Reason
from meltguard.agent.standing import Standing
from meltguard.agent.turns import Ticket
from meltguard.api.agent_report import LimitSource
from meltguard.core.units import Gpus, Seconds, TierName, Units
from support.agents import FREE, PLUS

START = Seconds(0.0)
SECONDS = 2.0  # that one unit takes
TIERS = {tier.name: tier.model_copy(update={"queue": 1_000, "max_wait": 10.0}) for tier in (FREE, PLUS)}


def a_gate(gpus: int = 1) -> Gate:
    """It knows its pace, and is busy from now on."""
    standing = Standing(source=LimitSource.BASELINE, tiers=TIERS, fallback=TIERS["free"])
    gate = Gate(Gpus(gpus), 1_024, standing, START)
    first = gate.place(Wish(TierName("free"), Units(1.0)), Seconds(-SECONDS))
    assert isinstance(first, Slot)
    gate.finish(first, START)
    gate.meter.done(Units(1.0), Seconds(-SECONDS), START)
    for _ in range(gpus):
        assert isinstance(ask(gate, "free"), Slot)
    return gate


def ask(gate: Gate, tier: str, at: float = 0.0, units: float = 1.0) -> Placed:
    return gate.place(Wish(TierName(tier), Units(units)), Seconds(at))


def too_long(placed: Placed) -> bool:
    return isinstance(placed, Hindrance) and placed.reason is Reason.WAIT_TOO_LONG


def test_in_a_surge_of_the_paying_the_lowest_is_refused_first_then_they() -> None:
    gate = a_gate()
    told = [(too_long(ask(gate, "plus")), too_long(ask(gate, "free"))) for _ in range(8)]
    free_from, plus_from = ([pair[side] for pair in told].index(True) for side in (1, 0))
    assert free_from < plus_from
    assert gate.predicted_wait(START) <= 2 * 10.0


@given(st.lists(st.tuples(st.sampled_from(["free", "plus"]), st.sampled_from([0.5, 1.0, 4.0])), max_size=40))
def test_whenever_the_paying_would_wait_too_long_so_would_the_lowest(asked: list[tuple[str, float]]) -> None:
    gate = a_gate(gpus=2)
    for tier, units in asked:
        ask(gate, tier, units=units)
    if too_long(ask(gate, "plus")):
        assert too_long(ask(gate, "free"))


@given(st.lists(st.sampled_from(["free", "plus"]), max_size=30))
def test_no_freed_gpu_goes_to_the_lowest_while_the_paying_wait(asked: list[str]) -> None:
    gate = a_gate()
    waiting = [placed for tier in asked if isinstance(placed := ask(gate, tier), Ticket)]
    (held,) = gate.slots
    order = []
    while waiting:
        gate.finish(held, START)
        ((ticket, held),) = gate.advance(START)
        waiting.remove(ticket)
        order.append(ticket.tier)
    assert order == sorted(order, reverse=True)


def test_a_gpu_that_hangs_is_felt_while_it_does() -> None:
    gate = a_gate()
    assert isinstance(ask(gate, "free", at=1.0), Ticket)
    assert gate.predicted_wait(Seconds(SECONDS)) == SECONDS
    assert gate.predicted_wait(Seconds(5 * SECONDS)) == pytest.approx(5 * SECONDS)
    assert too_long(ask(gate, "free", at=6 * SECONDS))
    assert isinstance(ask(gate, "plus", at=6 * SECONDS), Ticket)
