"""Platform metrics over a service's own nodes: what is not known is said to be unknown."""

import pytest

from meltguard.controller.observe import clocks_of, reading_of
from meltguard.core.metrics import MetricAnswer, MetricSample
from meltguard.core.policy import Signal, SignalKind, SignalUse
from meltguard.core.seen import GpuClock
from meltguard.core.units import NodeName, Seconds

NODES = frozenset({NodeName("a"), NodeName("b")})


def a_signal(kind: SignalKind) -> Signal:
    return Signal(name="s", kind=kind, use=SignalUse.DRIVE, calm=1, target=2, critical=3)


def samples(**values: float) -> MetricAnswer:
    found = [MetricSample(node=NodeName(node), value=value, age=Seconds(2.0)) for node, value in values.items()]
    return MetricAnswer(samples=tuple(found))


def test_the_hottest_gpu_counts_and_the_mean_of_utilization() -> None:
    assert reading_of(a_signal(SignalKind.GPU_TEMPERATURE), samples(a=60.0, b=80.0, other=99.0), NODES).value == 80.0
    assert reading_of(a_signal(SignalKind.GPU_UTILIZATION), samples(a=60.0, b=80.0, other=0.0), NODES).value == 70.0


def test_each_node_is_told_by_its_hottest_gpu_or_by_the_mean_of_its_utilization() -> None:
    """A node of which one GPU works and seven idle is not at work as a whole."""
    a = NodeName("a")
    found = MetricAnswer(
        samples=tuple(MetricSample(node=a, value=value, age=Seconds(2.0)) for value in (90.0, 30.0, 30.0))
    )
    assert reading_of(a_signal(SignalKind.GPU_TEMPERATURE), found, frozenset({a})).by_node == {a: 90.0}
    assert reading_of(a_signal(SignalKind.GPU_UTILIZATION), found, frozenset({a})).by_node == {a: 50.0}


@pytest.mark.parametrize("stuck", [0.0, 255.0])
def test_a_sensor_that_says_what_no_gpu_is_like_says_nothing(stuck: float) -> None:
    reading = reading_of(a_signal(SignalKind.GPU_TEMPERATURE), samples(a=stuck, b=stuck), NODES)
    assert reading.value is None
    assert "2 samples are no possible values" in reading.problem


def test_the_highest_draw_counts_and_a_card_that_draws_nothing_is_no_card() -> None:
    power = a_signal(SignalKind.GPU_POWER)
    assert reading_of(power, samples(a=310.0, b=690.0), NODES).value == 690.0
    assert "1 sample is no possible value" in reading_of(power, samples(a=0.0, b=690.0), NODES).problem


UNKNOWN = {
    "nothing found": (samples(), NODES, "0 of"),
    "half of the nodes": (samples(a=60.0), NODES, "1 of"),
    "another service's nodes": (samples(x=60.0, y=61.0), NODES, "0 of"),
    "no serving pod": (samples(a=60.0), frozenset(), "no serving pod"),
    "the source failed": (MetricAnswer(samples=(), problem="refused"), NODES, "refused"),
}


@pytest.mark.parametrize(("answer", "nodes", "words"), UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_is_not_zero(answer: MetricAnswer, nodes: frozenset[NodeName], words: str) -> None:
    reading = reading_of(a_signal(SignalKind.GPU_TEMPERATURE), answer, nodes)
    assert reading.value is None
    assert words in reading.problem


def test_only_fresh_clocks_of_the_service_s_own_nodes_are_taken() -> None:
    told = [("a", 1980.0, 2.0), ("b", 1200.0, 90.0), ("elsewhere", 900.0, 2.0)]
    found = [
        MetricSample(node=NodeName(node), value=value, age=Seconds(age), model="H100") for node, value, age in told
    ]
    nowhere = MetricSample(node=None, value=1.0, age=Seconds(1.0))
    assert clocks_of([*found, nowhere], NODES, Seconds(60.0)) == (
        GpuClock(node=NodeName("a"), model="H100", value=1980.0),
    )
