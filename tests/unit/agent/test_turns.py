"""Fair turns: laws that hold for any users, sizes and order of coming, going and being served."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.agent.turns import MOST_REMEMBERED, SPARE, FairLine, Ticket
from meltguard.core.units import Seconds, TierName, Units

FREE = TierName("free")
LARGEST = 8.0


def a_ticket(user: str, units: float = 1.0) -> Ticket:
    return Ticket(FREE, Units(units), Seconds(0.0), rated=False, user=user)


def a_line(*tickets: Ticket) -> FairLine:
    line = FairLine()
    for ticket in tickets:
        line.push(ticket)
    return line


def served(line: FairLine) -> Ticket:
    ticket = line.first()
    assert ticket is not None
    line.take(ticket)
    return ticket


def turns(line: FairLine, count: int) -> str:
    return "".join(served(line).user for _ in range(count))


def test_users_take_turns_whatever_one_of_them_sends() -> None:
    line = a_line(*(a_ticket("h") for _ in range(6)), a_ticket("a"), a_ticket("b"), a_ticket("a"))
    assert turns(line, 9) == "habhahhhh"


def test_turns_are_counted_in_image_units() -> None:
    line = a_line(*(a_ticket("h", 4.0) for _ in range(3)), *(a_ticket("a") for _ in range(8)))
    assert turns(line, 11) == "haaaahaaaah"


def test_who_just_had_a_turn_is_not_first_again_by_coming_anew() -> None:
    line = a_line(a_ticket("h", 4.0), a_ticket("a"), a_ticket("a"))
    assert served(line).user == "h"
    line.push(a_ticket("h", 4.0))
    assert turns(line, 3) == "aah"


def test_the_heaviest_gives_way_only_to_who_has_two_fewer() -> None:
    line = a_line(a_ticket("h"), a_ticket("a"), newest := a_ticket("h"))
    assert line.newest_of_heaviest("b") is newest
    assert line.newest_of_heaviest("a") is None
    assert line.newest_of_heaviest("h") is None


def test_memory_is_bounded() -> None:
    line = a_line(a_ticket("stays"))
    for number in range(4 * MOST_REMEMBERED):
        line.push(a_ticket(f"u{number}", 1e6))
        line.push(second := a_ticket(f"u{number}"))
        line.leave(second)
        first = line.first()
        assert first is not None
        line.take(first)
        line.push(a_ticket("stays"))
        line.leave(line.tickets()[0])
    assert len(line._ended) <= MOST_REMEMBERED
    assert len(line._heap) <= 2 * len(line._users) + SPARE


users = st.sampled_from("abcd")
sizes = st.sampled_from([0.25, 1.0, 4.0, LARGEST])


@given(st.lists(users, unique=True), sizes)
def test_equal_users_keep_their_order_of_arrival(names: list[str], units: float) -> None:
    assert turns(a_line(*(a_ticket(name, units) for name in names)), len(names)) == "".join(names)


@given(st.lists(sizes, max_size=30))
def test_one_user_is_served_in_order(units: list[float]) -> None:
    line = a_line(*(tickets := [a_ticket("a", each) for each in units]))
    assert [served(line) for _ in tickets] == tickets


@given(st.lists(st.tuples(users, sizes), max_size=80))
def test_while_two_wait_neither_gets_more_than_the_largest_request_ahead(asked: list[tuple[str, float]]) -> None:
    """So nobody starves: whoever waits is served once the others are that far ahead."""
    line = a_line(*(a_ticket("x", LARGEST) for _ in range(40)), *(a_ticket("y", 0.25) for _ in range(1_300)))
    got: Counter[str] = Counter()
    for user, units in asked:
        line.push(a_ticket(user, units))
        ticket = served(line)
        got[ticket.user] += int(4 * ticket.units)
        assert abs(got["x"] - got["y"]) <= 4 * (LARGEST + 0.25)


doings = st.lists(
    st.one_of(
        st.tuples(st.just("push"), users, sizes),
        st.tuples(st.just("leave"), st.integers(0, 20), st.none()),
        st.tuples(st.just("take"), st.none(), st.none()),
        st.tuples(st.just("displace"), users, st.none()),
    ),
    max_size=80,
)


@given(doings)
def test_nothing_is_lost_and_sums_are_kept(steps: list[tuple[str, object, object]]) -> None:
    line, model = FairLine(), list[Ticket]()
    for what, first, second in steps:
        if what == "push":
            assert isinstance(first, str)
            assert isinstance(second, float)
            model.append(a_ticket(first, second))
            line.push(model[-1])
        elif what == "take" and model:
            model.remove(served(line))
        elif what == "leave" and model:
            assert isinstance(first, int)
            line.leave(model.pop(first % len(model)))
        elif what == "displace":
            assert isinstance(first, str)
            _displaced(line, model, first)
        assert line.tickets() == model
        assert line.units == pytest.approx(sum(each.units for each in model))
        assert line.oldest() is (model[0] if model else None)
        assert (line.first() is None) == (not model)
        for user in "abcd":
            assert -1e-9 <= line.units_before(user) <= line.units + 1e-9


def _displaced(line: FairLine, model: list[Ticket], user: str) -> None:
    counts = Counter(each.user for each in model)
    ticket = line.newest_of_heaviest(user)
    if ticket is None:
        assert max(counts.values(), default=0) < counts[user] + 2
        return
    assert counts[ticket.user] == max(counts.values()) >= counts[user] + 2
    assert ticket is [each for each in model if each.user == ticket.user][-1]
    line.leave(ticket)
    model.remove(ticket)
