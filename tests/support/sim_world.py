"""A small service in simulated time, for tests of the simulator and of the law in it."""

from collections.abc import Iterator
from dataclasses import replace
from heapq import merge
from typing import Any

from meltguard.agent.rehearsed import RehearsedDoor
from meltguard.core.memory import Memory
from meltguard.core.policy import Level, Policy, TierState
from meltguard.core.units import Gpus, Seconds, Share
from meltguard.sim.requests import Asked, Request, alike, numbered
from meltguard.sim.steering import Law, Steering
from meltguard.sim.world import Setting, World
from support.core_values import FREE, PLUS, a_policy, a_tier

LADDER = {Level.ELEVATED: TierState.DELAY, Level.OVERLOADED: TierState.REJECT}
SERVICE = Seconds(6.0)
CAPACITY = 16 / 6.0
"""Image units a second that the 16 GPUs of `a_setting` do."""


def a_service(**changes: Any) -> Policy:
    tiers = (a_tier(on_level=LADDER), a_tier("plus", priority=10, floor=Share(0.0), on_level={}))
    return replace(a_policy(capacity=None, gpus_per_pod=Gpus(8), tiers=tiers), **changes)


def poisson(seed: int, until: float, surge: tuple[float, float] = (100.0, 400.0)) -> Iterator[Request]:
    """Free 0.5/s, in the surge 8/s; plus 1/s: three times what the GPUs do."""

    def free(at: Seconds) -> float:
        return 8.0 if surge[0] <= at < surge[1] else 0.5

    streams = (
        Asked(tier=FREE, rate=free, most=8.0, seconds=SERVICE),
        Asked(tier=PLUS, rate=lambda _: 1.0, most=1.0, seconds=SERVICE),
    )
    return numbered(merge(*(alike(one, Seconds(until), seed) for one in streams)))


def a_setting(seed: int = 1, until: float = 500.0, **changes: Any) -> Setting:
    setting = Setting(
        policy=a_service(),
        nodes=2,
        gpus_per_node=Gpus(8),
        requests=lambda: poisson(seed, until),
        until=Seconds(until),
    )
    return replace(setting, **changes)


def the_law(policy: Policy, memory: Memory) -> Steering:
    return Law(policy, memory)


def a_world(setting: Setting) -> World:
    return World(setting, lambda memory: the_law(setting.policy, memory), RehearsedDoor)
