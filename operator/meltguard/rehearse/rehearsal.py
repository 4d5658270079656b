"""One policy on one surge, from the first request to the last: the world is set up, run, and what came of it kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import Final

from typing_extensions import override

from meltguard.agent.rehearsed import RehearsedDoor
from meltguard.controller.board import Board
from meltguard.core.decision import Decision
from meltguard.core.demand import EVIDENCE
from meltguard.core.fleet import MANAGED_LABEL, NodeView
from meltguard.core.ledger import ended
from meltguard.core.memory import Memory
from meltguard.core.policy import Policy, Pool
from meltguard.core.seen import Snapshot
from meltguard.core.units import Celsius, GpuHours, Gpus, Instant, NodeName, PoolName, Seconds, Share, UnitsPerSecond
from meltguard.errors import InvalidInput
from meltguard.rehearse.clock import RehearsedClock
from meltguard.rehearse.cluster import Cluster
from meltguard.rehearse.fleet_plan import FleetPlan, PoolPlan
from meltguard.rehearse.lenders import Applied, Around, Frame, RehearsedLenders
from meltguard.rehearse.manifests import Manifests
from meltguard.rehearse.research import Research
from meltguard.rehearse.story import Story, Told
from meltguard.rehearse.surge import Surge
from meltguard.rehearse.users import mean_seconds, mean_units, recorded, requests_of
from meltguard.rehearse.workload import ServicePods
from meltguard.sim.fleet import COOLED
from meltguard.sim.ledger import Ledger
from meltguard.sim.spread import seeded
from meltguard.sim.steering import Law, Steering
from meltguard.sim.world import Setting, World

OWN: Final = PoolName("own")
"""What the service's nodes are called where its policy names no pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is rehearsed."""

    manifests: Manifests
    fleet: FleetPlan
    surge: Surge
    seed: int
    gpus_a_pod: Gpus  # that are simulated as one pod; see `merged`

    @property
    def policy(self) -> Policy:
        """The one, over the pods that are simulated."""
        return replace(self.manifests.policy.policy, gpus_per_pod=self.gpus_a_pod)

    @property
    def taker(self) -> Pool:
        """The pool that the service's own nodes are of."""
        return taker_of(self.manifests, self.fleet)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What came of it."""

    plan: Plan
    ledger: Ledger
    told: Sequence[Told]
    frames: Sequence[Frame]
    borrowed: GpuHours  # GPU-hours that the service had of lent nodes, those still out included
    work_lost: GpuHours  # GPU-hours of lenders' work that were done and not saved as it was broken off
    broken_off: int  # times that a Job was
    out: int  # nodes that were not home at the end


class RestedLaw(Law):
    """`decide()`, pass after pass, which hears from the board when nodes came home: as the service's own loop does."""

    def __init__(self, policy: Policy, memory: Memory, board: Board) -> None:
        super().__init__(policy, memory)
        self._board = board

    @override
    def __call__(self, seen: Snapshot, now: Instant) -> Decision:
        """One pass."""
        self.memory = replace(self.memory, rested=dict(self._board.rested))
        return super().__call__(seen, now)


def rehearse(plan: Plan, watch: Callable[[Seconds], None]) -> Rehearsal:
    """Run it; `watch` hears how far it is, in simulated seconds.

    Raises:
        InvalidInput: the fleet does not fit the manifests.
    """
    clock = RehearsedClock(plan.surge.dawn)
    around = _around(plan, clock)
    lenders = RehearsedLenders(Applied(plan.manifests.policy, plan.manifests.pools), around, watch)

    def steered_by(memory: Memory) -> Steering:
        del memory
        return RestedLaw(plan.policy, experienced(plan), lenders.board)

    try:
        ledger = World(_setting(plan), steered_by, RehearsedDoor, lenders).run()
    finally:
        lenders.close()
    return Rehearsal(
        plan=plan,
        ledger=ledger,
        told=around.story.told,
        frames=lenders.frames,
        borrowed=_borrowed(lenders, around),
        work_lost=around.research.lost,
        broken_off=around.research.broken_off,
        out=sum(node.claim is not None for node in around.cluster.nodes.values()),
    )


def taker_of(manifests: Manifests, fleet: FleetPlan) -> Pool:
    """The pool of the service's own nodes; made up where the policy names none."""
    capacity = manifests.policy.policy.capacity
    if capacity is not None:
        return next(one.pool for one in manifests.pools if one.pool.name == capacity.pool)
    name = PoolName(next(iter(fleet.pools)))
    known = next((one.pool for one in manifests.pools if one.pool.name == name), None)
    return known or Pool(name=name, uid=name, labels={"meltguard.io/pool": name}, taints=(), lending=None)


def merged(manifests: Manifests, fleet: FleetPlan) -> Gpus:
    """GPUs of the largest pods that the nodes of all pools can be filled with, each a whole number of the policy's.

    A node's pods simulated as one serve the same users at a fraction of the time: eight queues of one GPU become one
    of eight.
    """
    each = manifests.policy.policy.gpus_per_pod
    pods = [plan.gpus // each for plan in fleet.pools.values()]
    if not all(pods):
        small = next(name for name, plan in fleet.pools.items() if plan.gpus < each)
        gpus = fleet.pools[small].gpus
        raise InvalidInput(f"a pod of spec.service.gpusPerPod {each} does not fit a node of pool {small} ({gpus} GPUs)")
    return Gpus(each * gcd(*pods))


def experienced(plan: Plan) -> Memory:
    """What an operator remembers that has run for days: what a GPU does, and that the surge's first rate is usual."""
    service = plan.fleet.service
    each = UnitsPerSecond(mean_units(service) / mean_seconds(service))
    usual = UnitsPerSecond(plan.surge.total(Seconds(0.0)) * mean_units(service))
    return Memory(units_per_gpu=each, evidence=EVIDENCE, usual=usual)


def own_gpus(manifests: Manifests, fleet: FleetPlan) -> Gpus:
    """GPUs that the service has without any loan. Raises InvalidInput where those are none."""
    plan = pool_plan(fleet, taker_of(manifests, fleet).name)
    per_pod = manifests.policy.policy.gpus_per_pod
    gpus = Gpus(plan.nodes * (plan.gpus // per_pod) * per_pod)
    if not gpus:
        name = taker_of(manifests, fleet).name
        raise InvalidInput(f"pool {name}, the service's own, has no GPU for a pod of {per_pod}; give it nodes")
    return gpus


def own_rate(manifests: Manifests, fleet: FleetPlan) -> float:
    """Requests a second that those do. Raises as `own_gpus`."""
    return own_gpus(manifests, fleet) / mean_seconds(fleet.service)


def pool_plan(fleet: FleetPlan, name: PoolName) -> PoolPlan:
    """A pool's nodes. Raises InvalidInput where the fleet does not tell."""
    if name not in fleet.pools:
        there = ", ".join(fleet.pools)
        raise InvalidInput(f"how many nodes pool {name} has is not told (told: {there}); add --nodes {name}=COUNT")
    return fleet.pools[name]


def _around(plan: Plan, clock: RehearsedClock) -> Around:
    cluster = Cluster()
    research = Research(cluster, clock)
    policy, chance = plan.policy, seeded(plan.seed, "model loads")
    fixed, spread = plan.fleet.service.model_load, recorded().model_load
    pods = ServicePods(
        policy=policy,
        taker=plan.taker,
        cluster=cluster,
        clock=clock,
        load=lambda: Seconds(fixed if fixed is not None else spread.at(Share(chance.random()))),
        has_workload=plan.manifests.policy.service.workload is not None,
    )
    pools = {one.pool.name: one.pool for one in plan.manifests.pools} | {plan.taker.name: plan.taker}
    for pool in pools.values():
        _stand(pool, pool_plan(plan.fleet, pool.name), cluster, research)
    story = Story(clock)
    return Around(
        cluster=cluster,
        clock=clock,
        pods=pods,
        research=research,
        story=story,
        namespace_labels=plan.manifests.namespace_labels,
    )


def _stand(pool: Pool, plan: PoolPlan, cluster: Cluster, research: Research) -> None:
    """A pool's nodes, and the work on the last of them: idle ones have the lower numbers."""
    nodes = [_a_node(pool, number, plan) for number in range(1, plan.nodes + 1)]
    for node in nodes:
        cluster.put(node)
    for work in plan.work:
        taken, nodes = nodes[-work.nodes :], nodes[: -work.nodes]
        research.place(pool, work, taken)


def _a_node(pool: Pool, number: int, plan: PoolPlan) -> NodeView:
    name = NodeName(f"{pool.name}-{number:02}")
    return NodeView(
        name=name,
        uid=f"uid-{name}",
        labels={**pool.labels, MANAGED_LABEL: "true"},
        annotations={},
        taints=pool.taints,
        unschedulable=False,
        ready=True,
        gpus=Gpus(plan.gpus),
        claim=None,
        claim_problem="",
        pods=(),
    )


def _setting(plan: Plan) -> Setting:
    return Setting(
        policy=plan.policy,
        nodes=0,  # the lenders' side opens the service's own pods, too
        gpus_per_node=plan.policy.gpus_per_pod,
        requests=lambda: requests_of(plan.surge, plan.fleet.service, plan.seed),
        until=plan.surge.until,
        dawn=plan.surge.dawn,
        thermal=replace(COOLED, loaded=Celsius(plan.fleet.service.celsius)),
    )


def _borrowed(lenders: RehearsedLenders, around: Around) -> GpuHours:
    over = sum(books.gpu_hours for books in lenders.books.of.values())
    now, nodes = around.clock.now(), around.cluster.nodes.values()
    return GpuHours(over + sum(ended(node, node.claim, now).gpu_hours for node in nodes if node.claim is not None))
