"""Each model's rate is learned for itself, and the capacity is that of the mix that serves."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.api.memory import read_memory, write_memory
from meltguard.core.demand import Pace
from meltguard.core.load import PodLoad
from meltguard.core.memory import Memory
from meltguard.core.models import MOST_MODELS, Rates, Speeds, model_of, speeds_after, worth_of
from meltguard.core.units import Gpus, NodeName, PodUid, Seconds, Units, UnitsPerSecond
from support.core_values import FREE, a_load, a_node

OLD, NEW = NodeName("old-card"), NodeName("new-card")
TOGETHER = Pace(rate=UnitsPerSecond(1.5), evidence=Units(600.0))
WHOLE, SLICE = "nvidia.com/gpu", "nvidia.com/mig-1g.10gb"


def a_pod_on(node: NodeName, number: int, rate: float, busy: float = 1.0, gpus: int = 1) -> PodLoad:
    """A pod whose busy GPUs complete `rate` units a second each."""
    load = a_load(number, {FREE: 1.0}, {FREE: 0.0}, busy)
    return replace(load, node=node, gpus=Gpus(gpus), done=UnitsPerSecond(rate * busy * gpus))


def models_of(loads: list[PodLoad]) -> dict[PodUid, str]:
    return {load.pod: {OLD: "A100", NEW: "H100"}[load.node] for load in loads}


def rates(loads: list[PodLoad], speeds: Speeds) -> Rates:
    return Rates(together=UnitsPerSecond(1.5), speeds=speeds, models=models_of(loads))


def learned(loads: list[PodLoad], times: int = 200) -> dict[str, float]:
    speeds: Speeds = {}
    for _ in range(times):
        speeds = speeds_after(speeds, loads, models_of(loads), (Seconds(2_000.0), TOGETHER))
    return {model: rate for model, (rate, _) in speeds.items()}


@given(old=st.floats(0.2, 1.0), new=st.floats(1.0, 4.0), busy=st.floats(0.1, 1.0))
def test_a_model_is_not_taken_for_another(old: float, new: float, busy: float) -> None:
    """However busy each is: only busy time counts."""
    found = learned([a_pod_on(OLD, 1, old, busy), a_pod_on(NEW, 2, new, 1.0)])
    assert found == {"A100": pytest.approx(old, rel=0.05), "H100": pytest.approx(new, rel=0.05)}


def test_a_slice_of_a_card_is_not_taken_for_the_whole_card() -> None:
    """Both bear the same product; on one node, too."""
    labels = {"nvidia.com/gpu.product": "A100"}
    whole, part = model_of(labels, frozenset({WHOLE})), model_of(labels, frozenset({SLICE}))
    loads = [a_pod_on(OLD, 1, 1.0), a_pod_on(OLD, 2, 0.1)]
    speeds: Speeds = {}
    for _ in range(200):
        models = {loads[0].pod: whole, loads[1].pod: part}
        speeds = speeds_after(speeds, loads, models, (Seconds(2_000.0), TOGETHER))
    assert {model: rate for model, (rate, _) in speeds.items()} == {
        whole: pytest.approx(1.0, rel=0.05),
        part: pytest.approx(0.1, rel=0.05),
    }


def test_where_no_label_tells_the_product_the_resource_does() -> None:
    assert model_of({}, frozenset({"amd.com/gpu"})) == "amd.com/gpu"
    assert model_of({}, frozenset()) == ""


def test_the_capacity_is_that_of_the_mix_that_serves_now() -> None:
    """Not of the mix that it was learned on."""
    loads = [a_pod_on(OLD, 1, 1.0), a_pod_on(NEW, 2, 2.0)]
    speeds = speeds_after({}, loads, models_of(loads), (Seconds(10_000.0), TOGETHER))
    more_old = [*loads, a_pod_on(OLD, 3, 1.0), a_pod_on(OLD, 4, 1.0)]
    assert rates(more_old, speeds).mean(more_old) * 4 == pytest.approx(1.0 + 2.0 + 1.0 + 1.0, rel=0.05)
    assert rates(loads, speeds).mean(loads[:1]) == pytest.approx(1.0, rel=0.05)  # when the others are gone


def test_of_unnamed_ones_the_average_of_all_tells_it() -> None:
    loads = [a_pod_on(OLD, 1, 1.0), a_pod_on(OLD, 2, 1.0)]
    unnamed = Rates(together=UnitsPerSecond(1.5), speeds={"A100": (UnitsPerSecond(9.0), Units(600.0))}, models={})
    assert unnamed.mean(loads) == 1.5
    assert unnamed.mean([]) == 1.5
    assert speeds_after({}, loads, {}, (Seconds(2.0), TOGETHER)) == {}


def test_a_model_of_which_little_is_known_counts_as_the_average_of_all() -> None:
    loads = [a_pod_on(OLD, 1, 1.0), a_pod_on(NEW, 2, 2.0)]
    speeds = {"A100": (UnitsPerSecond(1.0), Units(600.0)), "H100": (UnitsPerSecond(50.0), Units(1.0))}
    assert rates(loads, speeds).mean(loads) == pytest.approx((1.0 + 1.5) / 2)


KNOWN = Rates(
    together=UnitsPerSecond(1.0),
    speeds={f"H100 {WHOLE}": (UnitsPerSecond(4.0), Units(600.0)), f"H100 {SLICE}": (UnitsPerSecond(0.5), Units(600.0))},
    models={},
)
MIXED = a_node(labels={"nvidia.com/gpu.product": "H100"}, gpus=Gpus(32), by_kind={WHOLE: Gpus(4), SLICE: Gpus(28)})


@pytest.mark.parametrize(
    ("asked", "does", "worth"),
    [({WHOLE}, 16.0, 8.0), ({SLICE}, 14.0, 7.0), ({WHOLE, SLICE}, 30.0, 15.0), ({"amd.com/gpu"}, 0.0, 0.0)],
)
def test_a_node_does_what_its_gpus_do_that_pods_ask_for(asked: set[str], does: float, worth: float) -> None:
    assert KNOWN.of_node(MIXED, frozenset(asked)) == does
    assert worth_of(MIXED, frozenset(asked), (KNOWN, UnitsPerSecond(2.0))) == worth


def test_a_node_stands_for_its_gpus_before_anything_is_learned() -> None:
    assert worth_of(MIXED, frozenset({WHOLE}), None) == 4.0
    assert worth_of(a_node(), frozenset({WHOLE}), None) == 8.0  # which kinds it has nobody knows


def test_what_was_learned_outlives_the_operator() -> None:
    memory = Memory(speeds={"H100": (UnitsPerSecond(2.25), Units(600.0))})
    assert read_memory(write_memory(memory)).speeds == memory.speeds


def test_only_so_many_models_are_remembered() -> None:
    nodes = [NodeName(f"n{number}") for number in range(MOST_MODELS + 3)]
    loads = [a_pod_on(node, number, 1.0) for number, node in enumerate(nodes)]
    found = speeds_after({}, loads, {load.pod: f"model {load.node}" for load in loads}, (Seconds(9.0), TOGETHER))
    assert len(found) == MOST_MODELS
