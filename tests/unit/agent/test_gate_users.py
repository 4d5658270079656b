"""A gate's line between users: whose turn is next, and who gives way where the line is full."""

from meltguard.agent.gate import Gate, Hindrance, Placed, Wish
from meltguard.agent.lane import Slot
from meltguard.agent.refusal import Reason
from meltguard.agent.standing import Standing
from meltguard.agent.turns import Ticket
from meltguard.api.agent_report import LimitSource
from meltguard.api.limit_document import TierLimit
from meltguard.core.units import Gpus, Seconds, TierName, Units
from support.agents import FREE

START = Seconds(0.0)


def a_gate(tier: TierLimit) -> Gate:
    return Gate(Gpus(1), 100, Standing(source=LimitSource.LEASE, tiers={tier.name: tier}, fallback=tier), START)


def slot(placed: Placed) -> Slot:
    assert isinstance(placed, Slot)
    return placed


def reason(placed: Placed) -> Reason | None:
    return placed.reason if isinstance(placed, Hindrance) else None


def asks(gate: Gate, user: str, at: float = 0.0) -> Placed:
    return gate.place(Wish(TierName("free"), Units(1.0), user), Seconds(at))


def test_a_full_line_takes_the_newest_of_the_heaviest_users_places() -> None:
    gate = a_gate(FREE.model_copy(update={"queue": 4}))
    waiting = [asks(gate, "heavy") for _ in range(5)][1:]
    assert reason(asks(gate, "heavy")) is Reason.QUEUE_FULL
    assert isinstance(asks(gate, "ann"), Ticket)
    assert isinstance(asks(gate, "bob"), Ticket)
    assert gate.gave_way() == [waiting[3], waiting[2]]
    assert gate.gave_way() == []
    assert reason(asks(gate, "ann")) is Reason.QUEUE_FULL  # two, one and one: more would only be passed around
    assert gate.line.count(TierName("free")) == 4


def test_a_line_that_one_user_made_too_long_in_seconds_is_open_to_others() -> None:
    gate = a_gate(FREE.model_copy(update={"max_wait": 5.0, "queue": 100}))
    gate.finish(slot(asks(gate, "heavy")), Seconds(2.0))
    gate.meter.done(Units(1.0), Seconds(0.0), Seconds(2.0))
    placed = [asks(gate, "heavy", at=2.0) for _ in range(5)]
    assert reason(placed[4]) is Reason.WAIT_TOO_LONG
    assert isinstance(asks(gate, "ann", at=2.0), Ticket)
    assert gate.gave_way() == [placed[3]]


def test_who_sends_most_requests_gets_no_more_turns_than_others() -> None:
    """As in the recorded minute in which 60 of 64 requests are one user's."""
    gate = a_gate(FREE.model_copy(update={"max_wait": 1e6, "queue": 100}))
    held = slot(asks(gate, "first"))
    for user in (*("heavy" for _ in range(60)), "ann", "bob", "cid"):
        asks(gate, user)
    order = []
    for _ in range(6):
        gate.finish(held, START)
        ((ticket, held),) = gate.advance(START)
        order.append(ticket.user)
    assert order == ["heavy", "ann", "bob", "cid", "heavy", "heavy"]
