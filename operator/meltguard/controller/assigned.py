"""Pools with their members, worked out once for all services: each of them looks at every node of the cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from meltguard.core.fleet import NodeView
from meltguard.core.policy import Pool
from meltguard.core.pools import PoolView, assign
from meltguard.core.units import PoolName


@dataclass(slots=True)
class Assigned:
    """The last answer. The same nodes are the same tuple: the fleet joins them anew only where something changed."""

    _nodes: tuple[NodeView, ...] = ()
    _pools: tuple[Pool, ...] = ()
    _found: Mapping[PoolName, PoolView] = field(default_factory=dict)

    def of(self, pools: Sequence[Pool], nodes: tuple[NodeView, ...]) -> Mapping[PoolName, PoolView]:
        """As `assign`."""
        asked = tuple(pools)
        if nodes is not self._nodes or asked != self._pools:
            self._nodes, self._pools, self._found = nodes, asked, assign(asked, nodes)
        return self._found
