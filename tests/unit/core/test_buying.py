"""Borrow first or buy first; and no GPU is both borrowed and bought for one shortage."""

from dataclasses import replace

import pytest

from meltguard.core.buying import CapacityChoice, choose_capacity
from meltguard.core.chance import NO_EXCESS
from meltguard.core.decision import Shortage
from meltguard.core.memory import Memory
from meltguard.core.policy import Mode, Source
from meltguard.core.units import Gpus, Instant, NodeName, UnitsPerSecond
from support.shortages import BURST, NOW, a_shortage

BORROW_FIRST, BUY_FIRST = (Source.BORROW, Source.BUY), (Source.BUY, Source.BORROW)


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


def test_nothing_is_bought_for_what_may_be_chance_and_a_rule_says_until_when() -> None:
    short = replace(a_shortage(32, (Source.BUY,)), excess=NO_EXCESS, demand=UnitsPerSecond(21.0))
    choice = choose_capacity(replace(short, beyond=UnitsPerSecond(5.0)))
    rule = choice.rules[-1]
    assert (choice.want, rule.rule, rule.holds) == (None, "a shortage is bought for", False)
    assert rule.text == (
        "5.00 units a second of 21.00 beyond what serves may be chance: GPUs are bought if that lasts 8 s more"
    )
    assert rule.until == pytest.approx(NOW + 7.56, abs=0.01)
    below = choose_capacity(replace(short, beyond=UnitsPerSecond(-1.0))).rules[-1]
    assert below.text.endswith("is not beyond what serves; nothing is bought for more")
