"""Which node belongs to which pool."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from meltguard.core.fleet import MoveStep, NodeView
from meltguard.core.node_rules import unfit
from meltguard.core.once import once
from meltguard.core.policy import Pool
from meltguard.core.units import NodeName, PoolName


@dataclass(frozen=True, kw_only=True)  # no slots: what is worked out once is kept in the instance
class PoolView:
    """A pool and the nodes whose home it is."""

    pool: Pool
    members: tuple[NodeView, ...]
    contested: tuple[NodeName, ...]  # nodes that another pool's labels match too: they belong to neither

    @once
    def floor(self) -> int:
        """Nodes that a lender always keeps; 0 where it lends nothing."""
        lending = self.pool.lending
        return max(lending.floor, math.ceil(lending.floor_share * len(self.members) - 1e-9)) if lending else 0

    @once
    def lent(self) -> tuple[NodeView, ...]:
        """Members under a claim, wherever they are on their way."""
        return tuple(node for node in self.members if node.claim is not None)

    @once
    def emptying(self) -> int:
        """Members that running work is leaving, or is going to leave, for a loan."""
        return sum(node.claim is not None and node.claim.empties for node in self.members)

    @once
    def at_home(self) -> tuple[NodeView, ...]:
        """What the floor counts: unclaimed members that work could be put on, and go on being so."""
        return tuple(node for node in self.members if node.claim is None and _is_of_use(node))

    @once
    def sound(self) -> tuple[NodeView, ...]:
        """Of those, the ones that nobody says are sick: what the floor counts before another one is lent."""
        return tuple(node for node in self.at_home if not node.sick)

    @once
    def fit(self) -> tuple[NodeView, ...]:
        """Members that could be borrowed, whatever runs on them."""
        return tuple(node for node in self.members if not unfit(node))


def _is_of_use(node: NodeView) -> bool:
    return node.ready and not node.unschedulable and node.gpus > 0 and not node.goes


def assign(pools: Sequence[Pool], nodes: Sequence[NodeView]) -> dict[PoolName, PoolView]:
    """Every pool with its members. A claimed node stays its home's member until the claim is off."""
    members: dict[PoolName, list[NodeView]] = {pool.name: [] for pool in pools}
    contested: dict[PoolName, list[NodeName]] = {pool.name: [] for pool in pools}
    for node in nodes:
        homes = _homes(node, pools)
        for home in homes:
            (members[home].append(node) if len(homes) == 1 else contested[home].append(node.name))
    return {
        pool.name: PoolView(pool=pool, members=tuple(members[pool.name]), contested=tuple(sorted(contested[pool.name])))
        for pool in pools
    }


def _homes(node: NodeView, pools: Sequence[Pool]) -> list[PoolName]:
    if node.claim is not None:
        return [pool.name for pool in pools if pool.name == node.claim.home]
    return [pool.name for pool in pools if pool.labels and pool.labels.items() <= node.labels.items()]


def loans_of(policy_uid: str, nodes: Sequence[NodeView]) -> tuple[NodeView, ...]:
    """Nodes that are claimed for this policy, oldest claim first."""
    mine = [node for node in nodes if node.claim is not None and node.claim.policy_uid == policy_uid]
    return tuple(sorted(mine, key=_claim_age))


def lent_to(policy_uid: str, nodes: Sequence[NodeView]) -> tuple[NodeView, ...]:
    """Nodes that are open to this policy's pods now."""
    return tuple(node for node in loans_of(policy_uid, nodes) if node.claim and node.claim.step is MoveStep.LENT)


def _claim_age(node: NodeView) -> tuple[float, str]:
    return (node.claim.since if node.claim else 0.0, node.name)
