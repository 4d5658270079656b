"""A jump far off the history: a second signal, or nothing moves."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.plausible import FAR
from meltguard.core.policy import SignalUse
from meltguard.core.pools import assign
from meltguard.core.seen import Memory, Snapshot
from meltguard.core.units import Instant, UnitsPerSecond
from support.core_values import FREE, PLUS, a_load, a_node, a_policy, a_pool, a_snapshot

WAIT, HEAT, _ = a_policy().signals
UNCONFIRMED = a_policy(signals=(WAIT, HEAT))  # asks nobody but the agents before it borrows
HEAT_ONLY = a_policy(signals=(WAIT, replace(HEAT, use=SignalUse.CONFIRM)))


def quiet(offered: float, busy: float = 0.1, **changes: Any) -> Snapshot:
    """Agents tell of this demand, but their GPUs hardly work."""
    pools = assign([a_pool("inference"), a_pool()], [a_node(f"r-{number}") for number in range(5)])
    seen = a_snapshot({FREE: offered, PLUS: 0.0}, {FREE: 60.0}, pools=pools, readings=(), **changes)
    share = {FREE: offered / 8, PLUS: 0.0}
    return replace(seen, loads=tuple(a_load(number, share, {FREE: 7.0}, busy=busy) for number in range(8)))


def passes(seen: Snapshot, usual: float | None, seconds: int = 40, policy: Any = UNCONFIRMED) -> Decision:
    memory = Memory(usual=None if usual is None else UnitsPerSecond(usual))
    for second in range(0, seconds, 2):
        decision = decide(policy, memory, seen, Instant(1000.0 + second))
        memory = decision.memory
    return decision


def rule(decision: Decision, name: str = "surge is plausible") -> Any:
    return next(one for one in decision.rules if one.rule == name)


@pytest.mark.parametrize("usual", [None, 1.0])
def test_agents_that_tell_of_a_flood_that_no_gpu_feels_move_nothing(usual: float | None) -> None:
    decision = passes(quiet(400.0), usual, seconds=1200)
    assert decision.borrow == ()
    assert not rule(decision).holds
    assert "GPUs work for 10%" in rule(decision).text
    assert decision.memory.usual in {usual, None}, "an unconfirmed surge became usual"


def test_a_real_flood_is_confirmed_by_the_gpus_at_once() -> None:
    decision = passes(quiet(400.0, busy=1.0), 1.0, seconds=10)
    assert decision.borrow
    assert rule(decision).text.endswith("GPUs work for 100% of the time")


def test_a_hot_gpu_is_a_second_signal() -> None:
    heat = replace(a_snapshot({FREE: 1.0}).readings[0], signal="heat", value=84.0)
    assert passes(replace(quiet(400.0), readings=(heat,)), 1.0).borrow
    cool = replace(heat, value=40.0)
    assert not passes(replace(quiet(400.0), readings=(cool,)), 1.0).borrow


def test_what_the_policy_names_to_confirm_suffices() -> None:
    heat = replace(a_snapshot({FREE: 1.0}).readings[0], signal="heat", value=72.0)
    decision = passes(replace(quiet(400.0), readings=(heat,)), 1.0, policy=HEAT_ONLY)
    assert rule(decision).holds
    assert decision.borrow


def test_within_its_history_a_demand_needs_no_second_signal() -> None:
    assert passes(quiet(20.0), 20.0 / FAR).borrow


def test_what_was_confirmed_becomes_usual_and_is_forgotten_slowly() -> None:
    busy = passes(quiet(400.0, busy=1.0), 1.0, seconds=1200)
    assert busy.memory.usual is not None
    assert busy.memory.usual > 200.0
    after = decide(UNCONFIRMED, busy.memory, quiet(1.0), Instant(1000.0 + 1202.0))
    assert after.memory.usual == pytest.approx(busy.memory.usual, rel=0.01)


@given(lies=st.lists(st.floats(0.0, 1e6), min_size=1, max_size=40))
def test_no_row_of_lies_borrows_a_node_while_the_gpus_idle(lies: list[float]) -> None:
    """Resets, spikes and frozen values in any order: nothing of the history is ever made of what is not believed."""
    memory = Memory(usual=UnitsPerSecond(0.5), units_per_gpu=UnitsPerSecond(1.0))
    for second, lie in enumerate(lies):
        decision = decide(UNCONFIRMED, memory, quiet(lie, busy=0.05), Instant(1000.0 + 2 * second))
        memory = decision.memory
        assert not decision.borrow
