"""The earliest next move: what closes every way must be over, and then the way that opens first is named."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.buying import choose_capacity
from meltguard.core.chance import NO_EXCESS
from meltguard.core.decision import Outcome, Shortage
from meltguard.core.loans import waits_for
from meltguard.core.memory import Memory, Recalled
from meltguard.core.next_move import NextMove, next_move
from meltguard.core.policy import Source
from meltguard.core.rest import SHORTEST_REST
from meltguard.core.seen import Hours, NoOffer
from meltguard.core.units import Instant, Pressure, UnitsPerSecond
from support.shortages import BURST, NOW, RESEARCH, a_shortage

YES = Outcome(rule="agents answer", holds=True, text="all answer")


def no(text: str, until: float | None = None, way: str = "") -> Outcome:
    return Outcome(rule="r", holds=False, text=text, until=None if until is None else Instant(until), way=way)


def to(way: str) -> Outcome:
    return replace(YES, way=way)


CASES: dict[str, tuple[list[Outcome], tuple[str, float | None]]] = {
    "nothing says no": ([YES, to("a")], ("", None)),
    "a rest": ([YES, no("rests", 60.0)], ("rests", 60.0)),
    "two rests: the longer": ([no("first", 60.0), no("second", 90.0)], ("second", 90.0)),
    "no clock tells": ([no("rests", 60.0), no("no metrics")], ("no metrics", None)),
    "two lenders: the earlier": ([no("b opens", 8.0, "b"), no("a opens", 6.0, "a")], ("a opens", 6.0)),
    "one lender says no twice": ([no("a opens", 6.0, "a"), no("a rests", 9.0, "a")], ("a rests", 9.0)),
    "one lender for ever, one for a while": ([no("never", None, "a"), no("b opens", 8.0, "b")], ("b opens", 8.0)),
    "an open lender has no node, another opens": (
        [to("a"), no("b opens", 8.0, "b"), no("none fits", 7.0, "a node fits")],
        ("none fits", 7.0),
    ),
    "all ways are open, the mode is not": ([to("a"), no("the mode is Shadow")], ("the mode is Shadow", None)),
    "everywhere before anywhere": ([no("rests", 60.0), no("a opens", 6.0, "a")], ("rests", 60.0)),
}


@pytest.mark.parametrize(("rules", "expected"), CASES.values(), ids=CASES)
def test_the_next_move(rules: list[Outcome], expected: tuple[str, float | None]) -> None:
    waits_for, at = expected
    assert next_move(rules) == NextMove(waits_for=waits_for, at=None if at is None else Instant(at))


outcomes = st.builds(
    Outcome,
    rule=st.just("r"),
    holds=st.booleans(),
    text=st.sampled_from(["x", "y", "z"]),
    until=st.none() | st.integers(0, 9).map(float).map(Instant),
    way=st.sampled_from(["", "a", "b"]),
)


@given(st.lists(outcomes, max_size=8))
def test_before_that_moment_nothing_is_possible(rules: list[Outcome]) -> None:
    """Law: at any earlier time some rule still says no on every way that says no now."""
    move = next_move(rules)
    assert (move.waits_for == "") == all(rule.holds for rule in rules)
    if move.at is None:
        return
    closed = [rule for rule in rules if not rule.holds and (rule.until is None or rule.until >= move.at)]
    ways = {rule.way for rule in rules if not rule.holds}
    assert any(not rule.way for rule in closed) or {rule.way for rule in closed} == ways


BOTH = (Source.BORROW, Source.BUY)
SHUT = {RESEARCH: Hours(open=False, why="closed until tomorrow", until=Instant(NOW + 500.0))}
RECALLED = Memory(short_since=Instant(0.0), recalled={RESEARCH: Recalled(at=Instant(NOW - 20.0), times=1)})
BACK = Memory(short_since=Instant(0.0), rested={f"r{n}": Instant(NOW - 10.0 * n) for n in range(4)})
CALM_BEFORE = Memory(short_since=Instant(0.0), returned_at=Instant(NOW - 100.0))
ASKED, BEYOND = UnitsPerSecond(21.0), UnitsPerSecond(5.0)
SOLD_OUT = {BURST: NoOffer(why="1 time in a row nothing came", until=Instant(NOW + 45.0))}

DECIDED: dict[str, tuple[Shortage, float | None]] = {
    "the lender's window": (a_shortage(8, BOTH, hours=SHUT), 500.0),
    "the lender's rest": (replace(a_shortage(8, BOTH), memory=RECALLED), 280.0),
    "the first node's rest": (replace(a_shortage(8, BOTH), memory=BACK), 30.0),
    "the service's own rest": (replace(a_shortage(8, BOTH), memory=CALM_BEFORE, pressure=Pressure(1.0)), 20.0),
    "a second sample": (replace(a_shortage(8, BOTH), memory=Memory(short_since=Instant(NOW - 1.0))), 1.0),
    "that it is no chance, to buy": (
        replace(a_shortage(32, (Source.BUY,)), excess=NO_EXCESS, demand=ASKED, beyond=BEYOND),
        NO_EXCESS.sure_in(ASKED, BEYOND),
    ),
    "the provider's back-off": (a_shortage(32, (Source.BUY,), no_offer=SOLD_OUT), 45.0),
    "the provider's back-off before the lender's window": (
        a_shortage(32, BOTH, hours=SHUT, no_offer=SOLD_OUT),
        45.0,
    ),
    "nothing that a clock tells": (replace(a_shortage(8, BOTH), pressure=None), None),
}


@pytest.mark.parametrize(("short", "after"), DECIDED.values(), ids=DECIDED)
def test_what_a_real_choice_waits_for(short: Shortage, after: float | None) -> None:
    move = next_move(choose_capacity(short).rules)
    assert move.waits_for
    assert move.at == (None if after is None else NOW + after)


@pytest.mark.parametrize(("left", "queues"), [(59.0, True), (61.0, False)])
def test_who_may_take_within_a_minute_stands_in_the_queue_already(left: float, *, queues: bool) -> None:
    """A rest ends for one service before it does for another: whoever is first must not take what is the other's."""
    recalled = {RESEARCH: Recalled(at=Instant(NOW - SHORTEST_REST + left), times=1)}
    short = a_shortage(8, BOTH)
    short = replace(short, memory=replace(short.memory, recalled=recalled))
    assert waits_for(short, ()).get(RESEARCH) is (False if queues else None), "but does not look there yet"


LOOKS: dict[str, tuple[Shortage, bool]] = {
    "all that it can lend is lent": (a_shortage(8, BOTH, research=2), True),
    "it is the first sample": (replace(a_shortage(8, BOTH, research=2), memory=Memory(short_since=NOW)), False),
    "the window opens in a minute": (
        a_shortage(8, BOTH, research=2, hours={RESEARCH: Hours(open=False, why="", until=Instant(NOW + 59.0))}),
        False,
    ),
}


@pytest.mark.parametrize(("short", "looks"), LOOKS.values(), ids=LOOKS)
def test_who_does_not_look_for_nodes_yet_has_not_found_none(short: Shortage, *, looks: bool) -> None:
    assert waits_for(short, ())[RESEARCH] is looks
