"""Heat takes from the GPUs that are hot, and from them only."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.heat import clock_shares, heat_of
from meltguard.core.pressure import assess
from meltguard.core.seen import GpuClock, Reading, Snapshot
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


NAMES = tuple(NodeName(name) for name in ("a", "b", "c", "d"))


def at_clocks(values: dict[str, float], busy: float = 1.0, model: str = "H100") -> Snapshot:
    """Two pods on each of four cool nodes, at work."""
    seen = a_snapshot({FREE: 6.0})
    loads = tuple(replace(load, node=NAMES[number % 4], busy=Share(busy)) for number, load in enumerate(seen.loads))
    cool = Reading(signal="heat", value=60.0, age=Seconds(1.0), by_node=dict.fromkeys(NAMES, 60.0))
    clocks = tuple(GpuClock(node=NodeName(name), model=model, value=value) for name, value in values.items())
    return replace(seen, loads=loads, readings=(cool,), clocks=clocks)


def test_a_card_that_runs_below_its_peers_counts_for_what_it_runs_at() -> None:
    seen = at_clocks({"a": 1980.0, "b": 1980.0, "c": 1980.0, "d": 1188.0})
    assert clock_shares(seen) == {"d": pytest.approx(0.6)}
    assert share(seen) == pytest.approx(0.9)
    cool = heat_of(a_policy(), assess(a_policy(), seen.readings), seen, Share(1.0)).cool
    assert {load.node for load in cool} == {"a", "b", "c"}


def test_the_worse_of_heat_and_clock_counts_not_both() -> None:
    seen = at_clocks({"a": 1980.0, "b": 1980.0, "c": 1980.0, "d": 1485.0})
    hot = Reading(signal="heat", value=88.0, age=Seconds(1.0), by_node={**dict.fromkeys(NAMES, 60.0), NAMES[3]: 88.0})
    assert share(replace(seen, readings=(hot,))) == pytest.approx(0.875)


SILENT = {
    "one boosts a little less": at_clocks({"a": 1980.0, "b": 1980.0, "c": 1980.0, "d": 1935.0}),
    "sampled between two images": at_clocks({"a": 1980.0, "b": 1980.0, "c": 1980.0, "d": 345.0}),
    "not at work": at_clocks({"a": 1980.0, "b": 1980.0, "c": 1980.0, "d": 1188.0}, busy=0.3),
    "too few to know what is usual": at_clocks({"a": 1980.0, "d": 1188.0}),
    "nobody tells": at_clocks({}),
    "a broken exporter": at_clocks({"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.0}),
}


@pytest.mark.parametrize("seen", SILENT.values(), ids=SILENT)
def test_what_tells_nothing_of_a_slowed_clock_takes_nothing(seen: Snapshot) -> None:
    assert clock_shares(seen) == {}
    assert share(seen) == 1.0


def test_each_model_has_its_own_clock() -> None:
    fast = at_clocks({"a": 1980.0, "b": 1980.0, "c": 1980.0})
    slow = tuple(GpuClock(node=node, model="A100", value=1410.0) for node in NAMES)
    assert clock_shares(replace(fast, clocks=(*fast.clocks, *slow))) == {}
