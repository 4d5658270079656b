"""How a decision's work grows with the fleet: counted in calls, for a clock would tell of the machine."""

import pytest

from meltguard.core.arbiter import arbitrate
from meltguard.core.loans import choose_loans
from support.calls import counted_calls
from support.large_fleet import MOST, shortage_on, view_of, wishes_on

SMALL = 200
TIMES = 4
LINEAR = 1.15 * TIMES
"""What is in proportion to the nodes grows by TIMES; some of it is the same for every fleet."""

FLEETS = {
    "busy nodes": {},
    "some idle": {"idle_each": 10},
    "busy nodes, none of which may go": {"keep": "asks to stay"},
}


def calls_for_a_plan(count: int, **fleet: object) -> int:
    short = shortage_on(view_of(count, **fleet))
    with counted_calls() as calls:
        choose_loans(short)
    return calls.total()


@pytest.mark.parametrize("fleet", FLEETS.values(), ids=FLEETS)
def test_a_plan_looks_at_each_node_the_same_number_of_times(fleet: dict[str, object]) -> None:
    assert calls_for_a_plan(SMALL * TIMES, **fleet) <= LINEAR * calls_for_a_plan(SMALL, **fleet)


def test_each_node_that_is_given_away_makes_one_plan_void_at_most() -> None:
    wishes = wishes_on(view_of(SMALL, idle_each=5), 5)
    with counted_calls() as calls:
        awards = arbitrate(wishes)
    assert len(awards) == MOST
    assert calls["choose_loans"] <= len(awards) + len(wishes)


def test_where_idle_nodes_suffice_no_work_is_weighed() -> None:
    short = shortage_on(view_of(SMALL, idle_each=5))
    with counted_calls() as calls:
        plan, _ = choose_loans(short)
    assert (len(plan), calls["_weighed"]) == (MOST, 0)
