"""What is planned ahead needs no demand; every rule of the lenders, of nodes and of rest holds as ever."""

from dataclasses import replace
from typing import Any

import pytest

from meltguard.core.buying import CapacityChoice, choose_capacity
from meltguard.core.calendar_rules import planned_ahead
from meltguard.core.decision import Shortage
from meltguard.core.fleet import MoveStep
from meltguard.core.memory import Memory
from meltguard.core.policy import Mode, Source
from meltguard.core.seen import Hours, Plan
from meltguard.core.units import Gpus, Instant, Pressure
from support.core_values import a_node
from support.demo_evidence import a_claim
from support.shortages import BURST, NOW, RESEARCH, a_shortage

BORROW, BUY = (Source.BORROW,), (Source.BUY,)
TWO = Plan(least=2, why="the calendar asks for 2 loans until 18:00")
SHUT = {RESEARCH: Hours(open=False, why="closed", until=None)}


def calm(order: tuple[Source, ...], **seen: Any) -> Shortage:
    """Nothing is missing, nothing presses, no platform signal confirms anything."""
    short = a_shortage(0, order, **{"plan": TWO, **seen})
    return replace(short, memory=Memory(), signals=(), pressure=Pressure(0.1))


def lent(*steps: MoveStep) -> dict[str, Any]:
    claim = replace(a_claim(), policy_uid="policy-uid")
    return {"loans": tuple(a_node(f"x{n}", claim=replace(claim, step=step)) for n, step in enumerate(steps))}


def got(choice: CapacityChoice) -> tuple[list[str], int]:
    return [str(borrow.node) for borrow in choice.taken], choice.want.missing if choice.want else 0


EIGHT = replace(calm(BUY), policy=replace(calm(BUY).policy, gpus_per_pod=Gpus(8)))
CASES: dict[str, tuple[Shortage, list[str], int]] = {
    "one node at a time, in the calm": (calm(BORROW), ["r0"], 0),
    "one is lent, one is missing": (calm(BORROW, **lent(MoveStep.LENT)), ["r0"], 0),
    "two are lent, or on their way": (calm(BORROW, **lent(MoveStep.LENT, MoveStep.CORDONED)), [], 0),
    "one that goes home does not count": (calm(BORROW, **lent(MoveStep.LENT, MoveStep.RECALLED)), ["r0"], 0),
    "what is bought and idle comes first": (calm((Source.BORROW, Source.BUY), on_offer={BURST: 4}), ["r0"], 0),
    "it is bought": (EIGHT, [], 8),
    "what is on order counts": (replace(EIGHT, seen=replace(EIGHT.seen, on_order=Gpus(16))), [], 0),
    "the lender's window": (calm(BORROW, hours=SHUT), [], 0),
    "the lender's floor": (
        replace(calm(BORROW), seen=a_shortage(0, BORROW, research=2, plan=TWO).seen),
        [],
        0,
    ),
    "the service's rest": (replace(calm(BORROW), memory=Memory(returned_at=Instant(NOW - 1.0))), [], 0),
    "agents that do not answer": (
        replace(calm(BORROW), seen=replace(calm(BORROW).seen, ready_pods=100)),
        [],
        0,
    ),
    "old node facts": (calm(BORROW, fleet_age=1e6), [], 0),
    "no entry is open": (calm(BORROW, plan=Plan(least=0, why="from 08:00")), [], 0),
}


@pytest.mark.parametrize(("short", "taken", "wanted"), CASES.values(), ids=CASES)
def test_what_a_calendar_brings(short: Shortage, taken: list[str], wanted: int) -> None:
    assert got(choose_capacity(short)) == (taken, wanted)


def test_shadow_only_says_so() -> None:
    short = calm(BORROW)
    shown = choose_capacity(replace(short, policy=replace(short.policy, mode=Mode.SHADOW)))
    assert not shown.taken
    assert "would borrow r0" in shown.rules[-1].text


def test_demand_goes_first_and_says_its_own_reasons() -> None:
    short = a_shortage(16, BORROW, plan=TWO)
    choice = choose_capacity(short)
    assert [str(borrow.node) for borrow in choice.taken] == ["r0", "r1"]
    assert "calendar asks" not in {rule.rule for rule in choice.rules}
    assert planned_ahead(short) is not None
