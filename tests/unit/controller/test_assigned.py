"""Pools are worked out once for the same nodes, and anew for others."""

from meltguard.controller.assigned import Assigned
from meltguard.core.pools import assign
from support.core_values import a_node, a_pool

POOLS = [a_pool("inference"), a_pool()]
NODES = (a_node("one"), a_node("two", "inference"))


def test_the_same_nodes_and_pools_are_assigned_once() -> None:
    assigned = Assigned()
    found = assigned.of(POOLS, NODES)
    assert found == assign(POOLS, NODES)
    assert assigned.of(list(POOLS), NODES) is found


def test_other_nodes_are_assigned_anew() -> None:
    assigned = Assigned()
    assigned.of(POOLS, NODES)
    assert assigned.of(POOLS, NODES[:1]) == assign(POOLS, NODES[:1])


def test_other_pools_are_assigned_anew() -> None:
    assigned = Assigned()
    assigned.of(POOLS, NODES)
    assert assigned.of(POOLS[:1], NODES) == assign(POOLS[:1], NODES)
