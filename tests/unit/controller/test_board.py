"""What services hear of each other, and what their decisions ask of the mover."""

from dataclasses import replace
from typing import Any

from meltguard.controller.board import Board
from meltguard.core.decide import decide
from meltguard.core.memory import Memory
from meltguard.core.pools import assign
from meltguard.core.seen import Hours
from meltguard.core.sharing import FRESH, Peer
from meltguard.core.units import Gpus, Instant, PoolName
from support.core_values import FREE, a_node, a_policy, a_pool, a_snapshot

NOW, RESEARCH, LAB = Instant(10_000.0), PoolName("research"), PoolName("lab")


def a_peer(key: str, at: float, **changes: Any) -> Peer:
    said = Instant(at)
    peer = Peer(
        key=key,
        priority=1,
        weight=1,
        held=Gpus(0),
        missing=Gpus(8),
        lenders=frozenset({RESEARCH}),
        finds_none={RESEARCH: said},
        at=said,
    )
    return replace(peer, **changes)


def test_a_service_hears_all_others_and_not_itself() -> None:
    board = Board()
    for uid in ("c", "a", "b"):
        board.heard(uid, a_peer(uid, NOW))
    assert [peer.key for peer in board.others("b", NOW)] == ["a", "c"]


def test_what_was_said_long_ago_is_nobody_s_word() -> None:
    board = Board()
    board.heard("a", a_peer("a", NOW))
    assert board.others("b", Instant(NOW + FRESH)) != ()
    assert board.others("b", Instant(NOW + FRESH + 1.0)) == ()


def test_who_goes_on_finding_none_waits_since_the_first_time() -> None:
    board = Board()
    for at in (0.0, 2.0, 4.0):
        board.heard("a", a_peer("a", NOW + at))
    (said,) = board.others("b", Instant(NOW + 4.0))
    assert (said.finds_none, said.at) == ({RESEARCH: NOW}, NOW + 4.0)


def test_at_each_lender_it_waits_since_it_looked_there() -> None:
    board = Board()
    for after, lenders in ((0.0, (RESEARCH,)), (2.0, (RESEARCH, LAB)), (4.0, (LAB,)), (6.0, (RESEARCH, LAB))):
        board.heard("a", a_peer("a", NOW + after, finds_none=dict.fromkeys(lenders, Instant(NOW + after))))
    (said,) = board.others("b", Instant(NOW + 6.0))
    assert said.finds_none == {RESEARCH: NOW + 6.0, LAB: NOW + 2.0}


def test_who_found_one_or_wanted_none_meanwhile_waits_anew() -> None:
    board = Board()
    for between in (a_peer("a", NOW + 2.0, finds_none={}), None):
        board.heard("a", a_peer("a", NOW))
        board.heard("a", between)
        board.heard("a", a_peer("a", NOW + 4.0))
        assert [peer.finds_none for peer in board.others("b", Instant(NOW + 4.0))] == [{RESEARCH: NOW + 4.0}]


def test_who_queues_before_a_window_opens_waits_since_it_opened() -> None:
    """The lender has nothing left then. A minute in which it lends to nobody is none in which nothing was found."""
    board, policy = Board(), a_policy()
    pools = assign([a_pool("inference"), a_pool()], [a_node("r1"), a_node("r2")])
    for after in (0.0, 28.0, 30.0, 58.0):
        now, opens = Instant(NOW + after), Instant(NOW + 30.0)
        hours = {RESEARCH: Hours(open=now >= opens, why="", until=opens)}
        seen = a_snapshot({FREE: 30.0}, pools=pools, hours=hours)
        board.decided(policy, decide(policy, Memory(short_since=Instant(NOW - 60.0)), seen, now))
        (said,) = board.others("another", now)
        assert (said.lenders, said.finds_none) == ({RESEARCH}, {RESEARCH: opens} if now >= opens else {})


def test_who_wants_nothing_any_more_or_is_gone_is_not_heard() -> None:
    board = Board()
    for uid in ("a", "b"):
        board.heard(uid, a_peer(uid, NOW))
    board.heard("a", None)
    board.forget("b")
    assert board.others("c", NOW) == ()


def test_a_decision_is_heard_by_the_mover_and_by_the_others() -> None:
    board, policy = Board(), a_policy()
    surge = decide(policy, Memory(short_since=Instant(NOW - 60.0)), a_snapshot({FREE: 30.0}), NOW)
    board.decided(policy, surge)
    assert board.wanted[policy.uid].plan == surge.borrow != ()
    (said,) = board.others("another", NOW)
    assert (said.key, said.finds_none, said.lenders) == (policy.key, {}, {RESEARCH})
    calm = decide(policy, Memory(), a_snapshot({FREE: 1.0}), NOW)
    board.decided(policy, calm)
    assert board.others("another", NOW) == ()
    assert board.take() == (), "what it wished for in the surge is void"


def test_a_wish_is_taken_once_and_ends_with_its_policy() -> None:
    board, policy = Board(), a_policy()
    surge = decide(policy, Memory(short_since=Instant(NOW - 60.0)), a_snapshot({FREE: 30.0}), NOW)
    board.decided(policy, surge)
    (taken,) = board.take()
    assert (taken.plan, board.take(), board.lacking) == (surge.borrow, (), {policy.uid: taken})
    board.forget(policy.uid)
    assert board.lacking == {}
