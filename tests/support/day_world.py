"""A service, its lender and its demand, in a few lines: `decide()` closes the loop, moves take their time."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.fleet import MoveStep, NodeView
from meltguard.core.load import PodLoad, TierLoad
from meltguard.core.memory import Memory
from meltguard.core.move_actions import Wanted
from meltguard.core.moves import new_claim
from meltguard.core.policy import Policy
from meltguard.core.pools import assign, loans_of
from meltguard.core.seen import Reading, Snapshot
from meltguard.core.units import Gpus, Instant, NodeName, PodUid, Seconds, Share, Units, UnitsPerSecond
from support.core_values import FREE, PLUS, a_node, a_pod, a_policy, a_pool
from support.drain_world import EVICTION

TICK = 10.0
BASE_NODES, LENT_AFTER, HOME_AFTER = 3, Seconds(60.0), Seconds(60.0)
RETURN_AFTER = Seconds(600.0)
CAPACITY = 8.0 * BASE_NODES
Demand = Callable[[float, random.Random], float]
"""Image units a second, by the second of the day, with its chance."""


def a_days_policy() -> Policy:
    """Nodes serve as one pod of eight GPUs."""
    policy = a_policy()
    assert policy.capacity is not None
    capacity = replace(policy.capacity, max_loans=3, return_after=RETURN_AFTER, units_per_gpu=None)
    return replace(policy, capacity=capacity, gpus_per_pod=Gpus(8))


def noisy(level: float, spread: float) -> Demand:
    """The same all day, but for noise; both as shares of what the service's own nodes do."""

    def demand(_: float, chance: random.Random) -> float:
        return CAPACITY * (level + chance.gauss(0, spread))

    return demand


@dataclass
class Day:
    """Everything is read from here; `run` lets it pass. A GPU completes one unit a second."""

    demand: Demand
    policy: Policy = field(default_factory=a_days_policy)
    seed: int = 1
    now: Instant = Instant(1_000_000.0)
    memory: Memory = field(default_factory=Memory)
    queue: float = 0.0
    borrowed: list[tuple[Instant, str]] = field(default_factory=list)
    returned: list[tuple[Instant, str]] = field(default_factory=list)
    evictions: int = 0
    pressures: dict[Instant, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311 - repeatable on purpose
        self.start = self.now
        own = [a_node(f"own-{number}", "inference") for number in range(BASE_NODES)]
        lab = [a_node(f"lab-{number}", pods=(a_pod(f"job-{number}", started_at=self.now),)) for number in range(6)]
        self.nodes: dict[NodeName, NodeView] = {node.name: node for node in [*own, *lab]}
        self.moved: dict[NodeName, Instant] = {}
        lender = a_pool()
        assert lender.lending is not None
        self.pools = [a_pool("inference"), replace(lender, lending=replace(lender.lending, eviction=EVICTION))]

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        for _ in range(int(seconds / TICK)):
            decision = self._pass()
            self._obey(decision)
            self.now = Instant(self.now + TICK)

    def _pass(self) -> Decision:
        offered = max(0.0, self.demand(self.now - self.start, self.chance))
        gpus = 8 * len(self._serving())
        limit = next((held.rate for tier, held in self.memory.limits.items() if tier == FREE), None)
        free = offered * 0.6 if limit is None else min(offered * 0.6, limit)
        served = min(gpus * 1.0, free + offered * 0.4 + self.queue / TICK)
        self.queue = min(60.0 * gpus, max(0.0, self.queue + (free + offered * 0.4 - served) * TICK))
        decision = decide(self.policy, self.memory, self._seen(offered, served, gpus), self.now)
        self.memory = decision.memory
        self.pressures[self.now] = decision.pressure or 0.0
        return decision

    def _serving(self) -> list[NodeView]:
        return [
            node
            for node in self.nodes.values()
            if node.labels["workload"] == "inference" and (node.claim is None or node.claim.step is MoveStep.LENT)
        ]

    def _seen(self, offered: float, served: float, gpus: int) -> Snapshot:
        busy = Share(min(1.0, served / gpus))
        nodes = list(self.nodes.values())
        loads = tuple(self._load(node, (offered, served, gpus)) for node in self._serving())
        return Snapshot(
            ready_pods=len(loads),
            loads=loads,
            readings=(
                Reading(signal="heat", value=60.0, age=Seconds(1.0)),
                Reading(signal="use", value=100.0 * busy, age=Seconds(1.0)),
            ),
            pools=assign(self.pools, nodes),
            loans=loans_of(self.policy.uid, nodes),
            namespace_labels={"team": "serving"},
            workload=None,
            fleet_age=Seconds(1.0),
        )

    def _load(self, node: NodeView, world: tuple[float, float, int]) -> PodLoad:
        offered, served, gpus = world
        share = 8 / gpus
        tiers = {
            FREE: TierLoad(
                offered=UnitsPerSecond(offered * 0.6 * share),
                admitted=UnitsPerSecond(served * 0.6 * share),
                waiting=Units(self.queue * share),
                wait_p99=Seconds(0.0),
            ),
            PLUS: TierLoad(
                offered=UnitsPerSecond(offered * 0.4 * share),
                admitted=UnitsPerSecond(served * 0.4 * share),
                waiting=Units(0.0),
                wait_p99=Seconds(0.0),
            ),
        }
        return PodLoad(
            pod=PodUid(f"pod-{node.name}"),
            node=node.name,
            gpus=Gpus(8),
            age=Seconds(0.5),
            span=Seconds(TICK),
            busy=Share(min(1.0, served / gpus)),
            done=UnitsPerSecond(served * share),
            in_flight=Units(8.0),
            tiers=tiers,
        )

    def _obey(self, decision: Decision) -> None:
        for borrow in decision.borrow:
            self._claim(borrow.node)
        for name, intent in decision.intents.items():
            node = self.nodes[name]
            if node.claim and intent.wanted is Wanted.HOME and node.claim.step is MoveStep.LENT:
                self.returned.append((self.now, name))
                self.moved[name] = self.now
                self.nodes[name] = replace(node, claim=replace(node.claim, step=MoveStep.RECALLED))
        for name in list(self.moved):
            self._arrive(name)

    def _claim(self, name: NodeName) -> None:
        node = self.nodes[name]
        self.evictions += len(node.movable_pods)
        at = (self.now, Instant(self.now + 1e9))
        claim = new_claim(node, (self.policy.key, self.policy.uid), (self.pools[1], self.pools[0]), at)
        self.borrowed.append((self.now, name))
        self.moved[name] = self.now
        self.nodes[name] = replace(node, claim=claim, pods=(), unschedulable=True)

    def _arrive(self, name: NodeName) -> None:
        node, since = self.nodes[name], self.now - self.moved[name]
        if node.claim is None:
            return
        if node.claim.step is MoveStep.CLAIMED and since >= LENT_AFTER:
            open_for = replace(node.claim, step=MoveStep.LENT)
            self.nodes[name] = replace(node, claim=open_for, unschedulable=False, labels=self._labels("inference"))
        elif node.claim.step is MoveStep.RECALLED and since >= HOME_AFTER:
            job = a_pod(f"again-{self.now:.0f}", started_at=self.now)
            self.nodes[name] = a_node(name, pods=(job,))
            del self.moved[name]
            rested = {**self.memory.rested, name: self.now}
            self.memory = replace(self.memory, rested=rested)

    def _labels(self, pool: str) -> dict[str, str]:
        return {**a_node().labels, "workload": pool}
