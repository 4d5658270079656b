"""A service that lacks GPUs, beside a lender with idle nodes and a pool that a provider makes larger."""

from dataclasses import replace
from typing import Any, Final

from meltguard.core.decision import Shortage, SignalPressure
from meltguard.core.memory import Memory
from meltguard.core.policy import Lending, Source
from meltguard.core.pools import assign
from meltguard.core.units import Gpus, Instant, PoolName, Pressure, Seconds, Share, UnitsPerSecond
from support.core_values import FREE, SURELY, a_node, a_policy, a_pool, a_snapshot
from support.providers import a_scaling

BURST: Final = PoolName("burst")
RESEARCH: Final = PoolName("research")
NOW: Final = Instant(10_000.0)
LENDING: Final = Lending(
    floor=0, floor_share=Share(0.0), max_loans=8, max_duration=Seconds(3600.0), borrower_labels={"team": "serving"}
)


def a_shortage(missing: int, order: tuple[Source, ...], research: int = 4, bought: int = 0, **seen: Any) -> Shortage:
    """So many GPUs missing, idle research nodes (two of them the floor), and idle bought ones."""
    policy = a_policy()
    assert policy.capacity is not None
    capacity = replace(policy.capacity, borrow_from=(RESEARCH, BURST), max_loans=8, order=order)
    policy = replace(policy, capacity=capacity)
    pools = [a_pool("inference"), a_pool(), a_pool("burst", lending=LENDING, cost=1.0, scaling=a_scaling())]
    nodes = [a_node(f"r{n}") for n in range(research)] + [a_node(f"b{n}", "burst") for n in range(bought)]
    confirmed = SignalPressure(name="use", value=95.0, unit="%", age=Seconds(1.0), pressure=Pressure(1.4), drives=False)
    return Shortage(
        policy=policy,
        capacity=capacity,
        seen=a_snapshot({FREE: 20.0}, pools=assign(pools, nodes), **seen),
        memory=Memory(short_since=Instant(NOW - 60.0), confirmed_at=NOW),
        signals=(confirmed,),
        pressure=Pressure(1.2),
        demand=UnitsPerSecond(20.0),
        busy=Share(1.0),
        missing=Gpus(missing),
        beyond=UnitsPerSecond(missing),
        excess=SURELY,
        now=NOW,
    )
