from meltguard.agent.queue import WaitingLine
from meltguard.agent.turns import Ticket
from meltguard.core.units import Seconds, TierName, Units

FREE, PLUS = TierName("free"), TierName("plus")


def a_ticket(tier: TierName = FREE, units: float = 1.0) -> Ticket:
    return Ticket(tier, Units(units), Seconds(0.0), rated=False)


def a_line(*tickets: Ticket) -> WaitingLine:
    line = WaitingLine()
    for ticket in tickets:
        line.push(ticket)
    return line


def test_the_first_is_the_oldest_of_the_first_tier_that_may_go() -> None:
    free, plus = a_ticket(), a_ticket(PLUS)
    line = a_line(free, a_ticket(), plus)
    assert line.first([PLUS, FREE], lambda _: True) is plus
    assert line.first([PLUS, FREE], lambda ticket: ticket.tier == FREE) is free
    assert line.first([PLUS, FREE], lambda _: False) is None


def test_one_may_leave_from_anywhere_once() -> None:
    tickets = [a_ticket(units=0.1) for _ in range(3)]
    line = a_line(*tickets)
    assert line.leave(tickets[1])
    assert not line.leave(tickets[1])
    assert line.of(FREE).tickets() == [tickets[0], tickets[2]]


def test_an_empty_tier_has_exactly_no_units() -> None:
    tickets = [a_ticket(units=units) for units in (0.1, 0.2, 0.3)]
    line = a_line(*tickets)
    for ticket in tickets:
        line.leave(ticket)
    assert (line.units(FREE), line.tiers(), len(line)) == (0.0, [], 0)
