"""What the operator does in a campaign: a tier's total that rises and falls, divided and pushed by its own Enforcer."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Final

from bench.windows import Total
from meltguard.agent.agent import Agent
from meltguard.api.grants import counters_of, document_of
from meltguard.clock import SystemClock
from meltguard.controller.agents import AgentBook
from meltguard.controller.enforcer import Enforcer
from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.grant import Grant
from meltguard.core.granting import LEAST_BURST, baseline_for
from meltguard.core.load import AgentCounters
from meltguard.core.memory import Memory
from meltguard.core.policy import Policy, Quota, Signal, SignalKind, SignalUse, TierState
from meltguard.core.units import Epoch, Instant, NodeName, PodUid, Seconds, TierName, UnitsPerSecond
from meltguard.ports import LimitSink, Target
from support.agents import POLICY, signed
from support.core_values import a_policy, a_snapshot, a_tier

LIMITED: Final = TierName("basic")
"""The tier with a rate. It has no quota: what holds it is its limit alone."""

RATES: Final = (60.0, 25.0, 80.0, 40.0, 100.0, 30.0)
"""Image units a second that the limited tier may have, in turn."""

PASS_EVERY: Final = 1.0
QUICK: Final = Signal(
    name="wait", kind=SignalKind.AGENT_WAIT, use=SignalUse.DRIVE, calm=0.01, target=0.02, critical=1.0
)
"""A bucket holds its rate for this wait target: so short that each agent's is the least that a lease gives."""

BURST: Final = LEAST_BURST
CAPACITY: Final = UnitsPerSecond(400.0)  # of all agents, as the operator knows it
SAFE: Final = UnitsPerSecond(10.0)  # of all agents, where only the baseline speaks: less than any share of a lease


def a_campaigns_policy(quotas: Sequence[str], images: int, zone: str) -> Policy:
    """Tiers with a quota, and one with a limit."""
    free = [
        a_tier(name, quota=Quota(images=images, time_zone=zone), max_wait=Seconds(30.0), on_level={}) for name in quotas
    ]
    basic = a_tier(LIMITED, max_wait=Seconds(0.3), priority=10, on_level={})
    names = {"namespace": POLICY.namespace, "name": POLICY.name, "uid": POLICY.uid}
    return a_policy(**names, tiers=(*free, basic), signals=(QUICK,))


def a_decision(policy: Policy, rate: float) -> Decision:
    """All calm but for the limited tier."""
    offered = dict.fromkeys((tier.name for tier in policy.tiers), 0.0)
    calm = decide(policy, Memory(), a_snapshot(offered), Instant(1000.0))
    limits = tuple(
        replace(limit, state=TierState.DELAY, rate=UnitsPerSecond(rate)) if limit.tier == LIMITED else limit
        for limit in calm.limits
    )
    return replace(calm, limits=limits, capacity=CAPACITY)


def a_campaigns_baseline(policy: Policy, pods: int) -> bytes:
    """What the operator mounts into every pod."""
    return signed(document_of(baseline_for(policy, SAFE, pods, SystemClock().now())))


class AtOnce:
    """Agents in this process, pushed and read without a network."""

    def __init__(self, agents: Mapping[PodUid, Agent]) -> None:
        self._agents = agents

    async def push(self, target: Target, grant: Grant) -> AgentCounters:
        """As over HTTP: signed, and answered with what is enforced."""
        return counters_of(self._agents[target.pod].obey(signed(document_of(grant))))

    async def read(self, target: Target, after: int) -> AgentCounters:
        """At once, whatever happened."""
        del after
        return counters_of(self._agents[target.pod].report())


class Pushes:
    """One service's limits over a campaign."""

    def __init__(self, policy: Policy, sink: LimitSink, targets: Sequence[Target], now: Callable[[], float]) -> None:
        clock = SystemClock()
        self._policy, self._now = policy, now
        self._book = AgentBook(sink, clock, lambda: None)
        self._book.calm = False  # the agents are busy: they are read every two seconds
        self._targets = targets
        self._enforcer = Enforcer(sink=sink, clock=clock, book=self._book, epoch=Epoch(1))
        self._rates = cycle(RATES)
        self._rate = next(self._rates)
        self.totals: list[Total] = []  # by `now`, the clock on which windows are judged
        self.changes = 0
        self.revision = 0

    async def run(self) -> None:
        """Renew, follow the load, until cancelled."""
        try:
            while True:
                await self._pass(self._rate)
                await asyncio.sleep(PASS_EVERY)
        finally:
            await self._book.close()

    async def begin(self) -> None:
        """The first leases: before anybody asks."""
        self._book.follow([(target, NodeName(f"gpu-{number}")) for number, target in enumerate(self._targets)])
        await self._pass(self._rate)

    def change(self) -> None:
        """Have the next total pushed with the next pass."""
        self._rate = next(self._rates)
        self.changes += 1

    async def _pass(self, rate: float) -> None:
        """While a change is under way the limit is the larger of both: decreases first, increases when they hold."""
        before = self.totals[-1].rate if self.totals else 0.0
        self.totals.append(Total(since=self._now(), rate=max(before, rate)))
        done = await self._enforcer.enforce(self._policy, a_decision(self._policy, rate))
        self.revision = done.revision
        self.totals.append(Total(since=self._now(), rate=rate))
