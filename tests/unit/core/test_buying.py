"""Borrow first or buy first; and no GPU is both borrowed and bought for one shortage."""

from dataclasses import replace
from typing import Any

import pytest

from meltguard.core.buying import CapacityChoice, choose_capacity
from meltguard.core.decision import Shortage, SignalPressure
from meltguard.core.policy import Lending, Mode, Source
from meltguard.core.pools import assign
from meltguard.core.seen import Memory
from meltguard.core.units import Gpus, Instant, NodeName, PoolName, Pressure, Seconds, Share, UnitsPerSecond
from support.core_values import FREE, a_node, a_policy, a_pool, a_snapshot
from support.providers import a_scaling

BURST, RESEARCH = PoolName("burst"), PoolName("research")
NOW = Instant(10_000.0)
BORROW_FIRST, BUY_FIRST = (Source.BORROW, Source.BUY), (Source.BUY, Source.BORROW)
LENDING = Lending(
    floor=0, floor_share=Share(0.0), max_loans=8, max_duration=Seconds(3600.0), borrower_labels={"team": "serving"}
)


def a_shortage(missing: int, order: tuple[Source, ...], research: int = 4, bought: int = 0, **seen: Any) -> Shortage:
    """So many GPUs missing, idle research nodes (two of them the floor), and idle bought ones."""
    policy = a_policy()
    assert policy.capacity is not None
    capacity = replace(policy.capacity, borrow_from=(RESEARCH, BURST), max_loans=8, order=order)
    policy = replace(policy, capacity=capacity)
    pools = [a_pool("inference"), a_pool(), a_pool("burst", lending=LENDING, cost=1.0, scaling=a_scaling())]
    nodes = [a_node(f"r{n}") for n in range(research)] + [a_node(f"b{n}", "burst") for n in range(bought)]
    confirmed = SignalPressure(name="use", value=95.0, unit="%", age=Seconds(1.0), pressure=Pressure(1.4), drives=False)
    return Shortage(
        policy=policy,
        capacity=capacity,
        seen=a_snapshot({FREE: 20.0}, pools=assign(pools, nodes), **seen),
        memory=Memory(short_since=Instant(NOW - 60.0), confirmed_at=NOW),
        signals=(confirmed,),
        pressure=Pressure(1.2),
        demand=UnitsPerSecond(20.0),
        busy=Share(1.0),
        missing=Gpus(missing),
        now=NOW,
    )


def said(choice: CapacityChoice) -> tuple[list[NodeName], int]:
    return [borrow.node for borrow in choice.taken], choice.want.missing if choice.want else 0


CASES = {
    "borrow first, lenders have enough: nothing is bought": (a_shortage(16, BORROW_FIRST), ["r0", "r1"], 0),
    "borrow first, lenders have too little: the rest is bought": (a_shortage(32, BORROW_FIRST), ["r0", "r1"], 16),
    "buy first, the provider has enough: nothing is borrowed": (
        a_shortage(16, BUY_FIRST, on_offer={BURST: 4}),
        [],
        16,
    ),
    "buy first, the provider has one: the rest is borrowed": (
        a_shortage(16, BUY_FIRST, on_offer={BURST: 1}),
        ["r0"],
        8,
    ),
    "buy first, the provider has none: all is borrowed": (a_shortage(16, BUY_FIRST), ["r0", "r1"], 0),
    "what is bought already comes before both": (a_shortage(16, BORROW_FIRST, bought=1), ["b0", "r0"], 0),
    "only borrow": (a_shortage(32, (Source.BORROW,)), ["r0", "r1"], 0),
    "only buy": (a_shortage(32, (Source.BUY,), bought=1), ["b0"], 24),
    "as many as the policy may have, orders counted": (
        a_shortage(80, (Source.BUY,), on_order=Gpus(48)),
        [],
        80,
    ),
}


@pytest.mark.parametrize(("short", "taken", "wanted"), CASES.values(), ids=CASES)
def test_what_is_borrowed_and_what_is_bought(short: Shortage, taken: list[str], wanted: int) -> None:
    assert said(choose_capacity(short)) == (taken, wanted)


def test_orders_count_against_the_policys_loans() -> None:
    want = choose_capacity(a_shortage(80, (Source.BUY,), on_order=Gpus(48))).want
    assert want is not None
    assert (want.most, want.on_order) == (2, 48)
    assert choose_capacity(a_shortage(80, (Source.BUY,), on_order=Gpus(64))).want is None


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.PAUSED])
def test_only_enforce_buys(mode: Mode) -> None:
    short = a_shortage(32, (Source.BUY,))
    assert choose_capacity(replace(short, policy=replace(short.policy, mode=mode))).want is None


def test_nothing_is_bought_for_a_moment_of_shortage() -> None:
    short = a_shortage(32, (Source.BUY,))
    assert choose_capacity(replace(short, memory=Memory(short_since=NOW, confirmed_at=NOW))).want is None


def test_a_namespace_that_may_not_borrow_there_has_nothing_bought() -> None:
    short = a_shortage(32, (Source.BUY,))
    assert choose_capacity(replace(short, seen=replace(short.seen, namespace_labels={}))).want is None


def test_a_paid_node_that_rests_is_not_bought_again() -> None:
    short = a_shortage(8, (Source.BUY,), bought=1)
    short = replace(short, memory=replace(short.memory, rested={"b0": Instant(NOW - 1.0)}))
    assert said(choose_capacity(short)) == ([], 0)
