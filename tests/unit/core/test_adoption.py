"""An operator that remembers nothing adopts what the pods hold, and issues nothing before it knows."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.adoption import LEARNING_ENDS, adopted, is_learning
from meltguard.core.decide import decide
from meltguard.core.load import PodLoad
from meltguard.core.memory import Held, Memory
from meltguard.core.seen import Snapshot
from meltguard.core.units import Instant, TierName, UnitsPerSecond
from support.core_values import FREE, PLUS, a_policy, a_snapshot

NOW = Instant(1000.0)


def holding(rates: list[float | None], ready: int | None = None) -> Snapshot:
    """A surge in which each pod enforces such a rate on the free tier."""
    seen = a_snapshot({FREE: 10.0, PLUS: 3.0}, {FREE: 60.0})
    loads = tuple(_with_rate(load, rate) for load, rate in zip(seen.loads, rates, strict=False))
    return replace(seen, loads=loads, ready_pods=ready if ready is not None else len(loads))


def _with_rate(load: PodLoad, rate: float | None) -> PodLoad:
    free = replace(load.tiers[FREE], rate=None if rate is None else UnitsPerSecond(rate))
    return replace(load, tiers={**load.tiers, FREE: free})


def limit(memory: Memory, tier: TierName = FREE) -> float | None:
    return memory.limits[tier].rate if tier in memory.limits else None


def test_the_pods_rates_together_become_the_limit() -> None:
    assert limit(adopted(a_policy(), Memory(), holding([0.5] * 8), NOW)) == 4.0


def test_silent_pods_are_counted_like_the_others() -> None:
    assert limit(adopted(a_policy(), Memory(), holding([0.5] * 6, ready=8), NOW)) == 4.0


def test_a_pod_without_a_limit_means_there_is_none() -> None:
    assert limit(adopted(a_policy(), Memory(), holding([0.5, None, 0.5]), NOW)) is None


def test_a_memory_of_its_own_is_not_overruled() -> None:
    own = Memory(limits={FREE: Held(rate=UnitsPerSecond(2.0), since=NOW)}, decided_at=NOW)
    assert adopted(a_policy(), own, holding([0.5] * 8), NOW) is own


def test_nothing_is_issued_before_enough_pods_have_answered() -> None:
    silent = holding([], ready=8)
    first = decide(a_policy(), Memory(), silent, NOW)
    assert first.learning
    assert first.why.startswith("just started")
    second = decide(a_policy(), first.memory, holding([0.5] * 8), Instant(NOW + 2.0))
    assert not second.learning
    held = next(one.rate for one in second.limits if one.tier == FREE)
    assert held is not None
    assert held <= 4.0


def test_learning_ends_even_if_pods_stay_silent() -> None:
    silent, memory, at = holding([0.5] * 2, ready=8), Memory(), NOW
    decision = decide(a_policy(), memory, silent, at)
    while decision.learning:
        at = Instant(at + 2.0)
        decision = decide(a_policy(), decision.memory, silent, at)
    assert at - NOW >= LEARNING_ENDS


def test_a_new_service_without_pods_is_not_waited_for() -> None:
    assert not is_learning(Memory(), holding([], ready=0), NOW)


@given(st.lists(st.floats(0.0, 5.0), min_size=8, max_size=8))
def test_the_first_pass_lets_in_no_more_than_the_pods_did(rates: list[float]) -> None:
    """A restart without memory creates no allowance: in a surge the first limits are at most those in force."""
    decision = decide(a_policy(), Memory(), holding(list(rates)), NOW)
    held = next(one.rate for one in decision.limits if one.tier == FREE)
    assert held is not None
    assert held <= sum(rates) + 1e-9
