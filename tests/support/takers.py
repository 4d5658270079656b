"""Several policies that want nodes of several lenders, each as its own pass would say it."""

from collections.abc import Mapping
from dataclasses import replace

from meltguard.core.arbiter import Wish
from meltguard.core.decision import Shortage
from meltguard.core.fleet import NodeView
from meltguard.core.loans import choose_loans
from meltguard.core.memory import Memory, Recalled
from meltguard.core.policy import Policy, Pool
from meltguard.core.pools import assign, loans_of
from meltguard.core.units import Gpus, Instant, PoolName, Pressure, Share, UnitsPerSecond
from support.core_values import FREE, SURELY, a_policy, a_pool, a_snapshot

LENDERS = (PoolName("research"), PoolName("lab"))
EARLIER = 60.0
"""Seconds for which the shortage has lasted already."""


def a_taking_policy(name: str, priority: int = 1, weight: int = 1) -> Policy:
    """A policy that may have many loans, from both lenders."""
    policy = a_policy(name=name, uid=f"{name}-uid", signals=a_policy().signals[:1])
    assert policy.capacity is not None
    capacity = replace(policy.capacity, priority=priority, weight=weight, max_loans=100, borrow_from=LENDERS)
    return replace(policy, capacity=capacity)


def a_lending_pool(name: str, floor: int, share: float = 0.0) -> Pool:
    """A pool that lends idle nodes, all but its floor."""
    lending = a_pool().lending
    assert lending is not None
    return a_pool(name, lending=replace(lending, floor=floor, floor_share=Share(share), max_loans=100))


def a_wish(
    policy: Policy,
    missing: int,
    world: tuple[list[Pool], list[NodeView]],
    now: Instant,
    past: tuple[Mapping[str, Instant], Mapping[PoolName, Recalled]] = ({}, {}),
) -> Wish:
    """What this policy would claim if it were alone; `past` is (when nodes came home, who called nodes back)."""
    pools, nodes = world
    assert policy.capacity is not None
    short = Shortage(
        policy=policy,
        capacity=policy.capacity,
        seen=a_snapshot({FREE: 9.0}, pools=assign(pools, nodes), loans=loans_of(policy.uid, nodes)),
        memory=Memory(short_since=Instant(now - EARLIER), rested=past[0], recalled=past[1]),
        signals=(),
        pressure=Pressure(1.5),
        demand=UnitsPerSecond(9.0),
        busy=Share(1.0),
        missing=Gpus(missing),
        beyond=UnitsPerSecond(missing),
        excess=SURELY,
        now=now,
    )
    return Wish(policy=policy, plan=choose_loans(short)[0], shortage=short)
