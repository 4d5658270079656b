"""Which nodes have a GPU that its driver gave up: fresh samples of named errors only; unknown is not sick."""

from dataclasses import replace

import pytest

from meltguard.core.buying import choose_capacity
from meltguard.core.metrics import MetricSample
from meltguard.core.policy import Source
from meltguard.core.pools import assign
from meltguard.core.sick import sick_nodes, with_health
from meltguard.core.units import NodeName, Seconds
from support.core_values import a_node
from support.shortages import a_shortage

STALE_AFTER = Seconds(60.0)
A = NodeName("a")

CASES: dict[str, tuple[NodeName | None, float, float, bool]] = {
    "fallen off the bus": (A, 79.0, 5.0, True),
    "an uncontained error": (A, 95.0, 60.0, True),
    "no error": (A, 0.0, 5.0, False),
    "an application's fault": (A, 31.0, 5.0, False),
    "a contained error": (A, 94.0, 5.0, False),
    "too old to know": (A, 79.0, 61.0, False),
    "nobody's": (None, 79.0, 5.0, False),
}


@pytest.mark.parametrize(("node", "value", "age", "sick"), CASES.values(), ids=CASES)
def test_who_is_sick(node: NodeName | None, value: float, age: float, *, sick: bool) -> None:
    found = sick_nodes([MetricSample(node=node, value=value, age=Seconds(age))], STALE_AFTER)
    assert set(found) == ({A} if sick else set())


def test_a_sick_node_is_not_lent_and_keeps_no_floor() -> None:
    """Four idle nodes, a floor of two: one sick leaves one to lend, and it is not the sick one."""
    short = a_shortage(16, (Source.BORROW,))
    nodes = with_health([a_node(f"r{n}") for n in range(4)], {NodeName("r0"): "has a sick GPU"})
    pools = assign([pool.pool for pool in short.seen.pools.values()], nodes)
    choice = choose_capacity(replace(short, seen=replace(short.seen, pools=pools)))
    assert [str(one.node) for one in choice.taken] == ["r1"]
