"""Heat takes from the GPUs that are hot, and from them only."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.heat import heat_of
from meltguard.core.pressure import assess
from meltguard.core.seen import Reading, Snapshot
from meltguard.core.units import NodeName, Seconds, Share
from support.core_values import FREE, a_policy, a_snapshot

A, B = NodeName("a"), NodeName("b")


def on_two_nodes(heats: dict[NodeName, float], age: float = 1.0) -> Snapshot:
    """Eight pods, half on each node; the policy's scale is 70, 80, 88 degrees."""
    seen = a_snapshot({FREE: 6.0})
    loads = tuple(replace(load, node=(A, B)[number % 2]) for number, load in enumerate(seen.loads))
    hottest = max(heats.values(), default=60.0)
    reading = Reading(signal="heat", value=hottest, age=Seconds(age), by_node=heats)
    return replace(seen, loads=loads, readings=(reading,))


def share(seen: Snapshot, before: float = 1.0) -> float:
    return heat_of(a_policy(), assess(a_policy(), seen.readings), seen, Share(before)).share


def test_a_hot_node_takes_from_its_own_gpus_only() -> None:
    assert share(on_two_nodes({A: 60.0, B: 60.0})) == 1.0
    assert share(on_two_nodes({A: 60.0, B: 88.0})) == pytest.approx(0.75)
    assert share(on_two_nodes({A: 88.0, B: 88.0})) == pytest.approx(0.5)


def test_a_node_that_is_not_told_apart_counts_as_the_hottest() -> None:
    assert share(on_two_nodes({A: 88.0})) == pytest.approx(0.5)


def test_an_unknown_temperature_changes_nothing() -> None:
    assert share(on_two_nodes({A: 60.0, B: 60.0}, age=600.0), before=0.8) == 0.8


def test_only_cool_pods_say_what_a_gpu_does() -> None:
    seen = on_two_nodes({A: 60.0, B: 85.0})
    cool = heat_of(a_policy(), assess(a_policy(), seen.readings), seen, Share(1.0)).cool
    assert {load.node for load in cool} == {A}


@given(a=st.floats(20, 110), b=st.floats(20, 110), hotter=st.floats(0, 60))
def test_hotter_is_never_more(a: float, b: float, hotter: float) -> None:
    assert share(on_two_nodes({A: a, B: b + hotter})) <= share(on_two_nodes({A: a, B: b})) + 1e-9


def test_each_pod_is_told_the_heat_of_its_own_node() -> None:
    seen = on_two_nodes({A: 60.0, B: 88.0})
    told = heat_of(a_policy(), assess(a_policy(), seen.readings), seen, Share(1.0)).by_pod
    assert {load.node: told[load.pod] for load in seen.loads} == {A: 1.0, B: pytest.approx(0.5)}
