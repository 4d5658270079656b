"""Each model's rate is learned for itself, and the capacity is that of the mix that serves."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.api.memory import read_memory, write_memory
from meltguard.core.demand import Pace
from meltguard.core.load import PodLoad
from meltguard.core.models import MOST_MODELS, rate_of_mix, speeds_after
from meltguard.core.seen import Memory
from meltguard.core.units import Gpus, NodeName, Seconds, Units, UnitsPerSecond
from support.core_values import FREE, a_load

OLD, NEW = NodeName("old-card"), NodeName("new-card")
MODELS = {OLD: "A100", NEW: "H100"}
TOGETHER = Pace(rate=UnitsPerSecond(1.5), evidence=Units(600.0))


def a_pod_on(node: NodeName, number: int, rate: float, busy: float = 1.0, gpus: int = 1) -> PodLoad:
    """A pod whose busy GPUs complete `rate` units a second each."""
    load = a_load(number, {FREE: 1.0}, {FREE: 0.0}, busy)
    return replace(load, node=node, gpus=Gpus(gpus), done=UnitsPerSecond(rate * busy * gpus))


def learned(loads: list[PodLoad], times: int = 200) -> dict[str, float]:
    speeds = {}
    for _ in range(times):
        speeds = dict(speeds_after(speeds, loads, MODELS, (Seconds(2_000.0), TOGETHER)))
    return {model: rate for model, (rate, _) in speeds.items()}


@given(old=st.floats(0.2, 1.0), new=st.floats(1.0, 4.0), busy=st.floats(0.1, 1.0))
def test_a_model_is_not_taken_for_another(old: float, new: float, busy: float) -> None:
    """However busy each is: only busy time counts."""
    found = learned([a_pod_on(OLD, 1, old, busy), a_pod_on(NEW, 2, new, 1.0)])
    assert found == {"A100": pytest.approx(old, rel=0.05), "H100": pytest.approx(new, rel=0.05)}


def test_the_capacity_follows_the_mix_at_once() -> None:
    loads = [a_pod_on(OLD, 1, 1.0), a_pod_on(NEW, 2, 2.0)]
    speeds = speeds_after({}, loads, MODELS, (Seconds(10_000.0), TOGETHER))
    more_old = [*loads, a_pod_on(OLD, 3, 1.0), a_pod_on(OLD, 4, 1.0)]
    mix = rate_of_mix(speeds, more_old, MODELS, TOGETHER.rate)
    assert mix is not None
    assert mix * 4 == pytest.approx(1.0 + 2.0 + 1.0 + 1.0, rel=0.05)


def test_of_one_model_alone_and_of_unnamed_ones_the_average_of_all_tells_it() -> None:
    loads = [a_pod_on(OLD, 1, 1.0), a_pod_on(OLD, 2, 1.0)]
    speeds = {"A100": (UnitsPerSecond(9.0), Units(600.0))}
    assert rate_of_mix(speeds, loads, MODELS, TOGETHER.rate) == TOGETHER.rate
    assert rate_of_mix(speeds, loads, {}, TOGETHER.rate) == TOGETHER.rate
    assert speeds_after({}, loads, {}, (Seconds(2.0), TOGETHER)) == {}


def test_a_model_of_which_little_is_known_counts_as_the_average_of_all() -> None:
    loads = [a_pod_on(OLD, 1, 1.0), a_pod_on(NEW, 2, 2.0)]
    speeds = {"A100": (UnitsPerSecond(1.0), Units(600.0)), "H100": (UnitsPerSecond(50.0), Units(1.0))}
    assert rate_of_mix(speeds, loads, MODELS, TOGETHER.rate) == pytest.approx((1.0 + 1.5) / 2)


def test_nothing_is_made_up_before_anything_is_known() -> None:
    loads = [a_pod_on(OLD, 1, 1.0), a_pod_on(NEW, 2, 2.0)]
    assert rate_of_mix({}, loads, MODELS, None) is None


def test_what_was_learned_outlives_the_operator() -> None:
    memory = Memory(speeds={"H100": (UnitsPerSecond(2.25), Units(600.0))})
    assert read_memory(write_memory(memory)).speeds == memory.speeds


def test_only_so_many_models_are_remembered() -> None:
    nodes = [NodeName(f"n{number}") for number in range(MOST_MODELS + 3)]
    loads = [a_pod_on(node, number, 1.0) for number, node in enumerate(nodes)]
    found = speeds_after({}, loads, {node: f"model of {node}" for node in nodes}, (Seconds(9.0), TOGETHER))
    assert len(found) == MOST_MODELS
