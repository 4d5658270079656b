"""A tier's floor holds at the pod by itself, however much the more important ask: operator and store may be gone."""

from dataclasses import dataclass, field
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.agent.gate import Gate, Wish
from meltguard.agent.lane import Slot
from meltguard.agent.standing import Standing
from meltguard.agent.turns import Ticket
from meltguard.api.agent_report import LimitSource
from meltguard.api.limit_document import TierState
from meltguard.core.units import Gpus, Seconds, TierName, Units
from support.agents import FREE, PLUS

START = Seconds(0.0)
PATIENT = {"queue": 1_000, "max_wait": 1e6}


def a_gate(floor: float, state: TierState = TierState.OPEN, **changes: float) -> Gate:
    """One busy GPU that does a unit a second; who is not important has this floor."""
    free = FREE.model_copy(update={**PATIENT, "floor": floor, "state": state, **changes})
    plus = PLUS.model_copy(update={**PATIENT, **changes})
    tiers = {tier.name: tier for tier in (free, plus)}
    gate = Gate(Gpus(1), 1_024, Standing(source=LimitSource.BASELINE, tiers=tiers, fallback=free), START)
    for _ in range(3):
        held = gate.place(Wish(TierName("plus"), Units(1.0)), START)
        assert isinstance(held, Slot)
        gate.finish(held, Seconds(1.0))
        gate.meter.done(Units(1.0), START, Seconds(1.0))
    assert isinstance(gate.place(Wish(TierName("plus"), Units(1.0)), Seconds(1.0)), Slot)
    return gate


def turns(gate: Gate, at: Seconds = START) -> list[Ticket]:
    """Who gets the GPU, one after the other, until nobody waits."""
    order = []
    while gate.line:
        (held,) = gate.slots
        gate.finish(held, at)
        ((ticket, _),) = gate.advance(at)
        order.append(ticket)
    return order


SIZES = st.sampled_from([0.25, 1.0, 4.0])


@given(st.floats(0.01, 0.5), st.lists(st.tuples(st.booleans(), SIZES), max_size=60))
def test_while_both_wait_the_lowest_gets_its_floor_of_what_drains_and_no_more(
    floor: float, asked: list[tuple[bool, float]]
) -> None:
    gate = a_gate(floor)
    for is_free, units in asked:
        placed = gate.place(Wish(TierName("free" if is_free else "plus"), Units(units)), Seconds(1.0))
        assert isinstance(placed, Ticket)
    order = turns(gate)
    left = [sum(ticket.tier == "plus" for ticket in order)]
    left = list(accumulate(order, lambda count, ticket: count - (ticket.tier == "plus"), initial=left[0]))
    some_free = sum(ticket.tier == "free" for ticket in order)
    drained = given_free = 0.0
    for ticket, plus_left in zip(order, left, strict=False):
        if not plus_left or not some_free:
            break
        drained += ticket.units
        some_free -= ticket.tier == "free"
        given_free += ticket.units * (ticket.tier == "free")
        assert given_free <= floor * drained + floor * 4.0 + 1e-9
        assert not some_free or given_free >= floor * drained - 2 * 4.0


@pytest.mark.parametrize(
    "gate",
    [a_gate(0.0), a_gate(0.3, TierState.SUSPEND)],
    ids=["no floor", "suspended"],
)
def test_without_a_floor_or_suspended_the_lowest_is_owed_nothing(gate: Gate) -> None:
    for tier in ("free", "plus", "plus", "plus", "plus", "plus", "plus", "plus"):
        gate.place(Wish(TierName(tier), Units(1.0)), Seconds(1.0))
    assert "free" not in [ticket.tier for ticket in turns(gate)][:7]


@dataclass
class Surge:
    """A request of the paying and one of the others each second, twice what the GPU does, with little patience."""

    gate: Gate
    served: dict[str, int] = field(default_factory=lambda: {"free": 0, "plus": 0})
    deadlines: dict[Ticket, float] = field(default_factory=dict)

    def run(self, seconds: int, max_wait: float) -> None:
        """Let it go on."""
        for second in range(1, seconds):
            at = Seconds(1.0 + second)
            for ticket in [each for each, end in self.deadlines.items() if end <= at]:
                del self.deadlines[ticket]
                self.gate.leave(ticket)
            for held in list(self.gate.slots):
                self.gate.finish(held, at)
                self.gate.meter.done(held.units, held.since, at)
            for ticket, _ in self.gate.advance(at):
                del self.deadlines[ticket]
                self.served[ticket.tier] += 1
            for tier in ("plus", "plus", "free"):
                placed = self.gate.place(Wish(TierName(tier), Units(1.0)), at)
                if isinstance(placed, Ticket):
                    self.deadlines[placed] = at + max_wait
                elif isinstance(placed, Slot):
                    self.served[tier] += 1


@pytest.mark.parametrize("max_wait", [4.0, 30.0])
def test_in_a_surge_of_the_paying_the_lowest_keeps_its_floor(max_wait: float) -> None:
    surge = Surge(a_gate(0.1, max_wait=max_wait))
    surge.run(400, max_wait)
    assert 30 <= surge.served["free"] <= 41
    assert sum(surge.served.values()) >= 390


@settings(max_examples=20, deadline=None)
@given(floor=st.sampled_from([0.05, 0.2, 0.5]), max_wait=st.sampled_from([3.0, 10.0, 60.0]))
def test_whatever_the_patience_the_floor_is_kept_and_never_exceeded(floor: float, max_wait: float) -> None:
    surge = Surge(a_gate(floor, max_wait=max_wait))
    surge.run(200, max_wait)
    assert floor * 200 * 0.6 - 2 <= surge.served["free"] <= floor * 200 + 2
