"""One policy on one surge, from the first request to the last: the world is set up, run, and what came of it kept."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from random import Random
from typing import Final

from typing_extensions import override

from meltguard.agent.rehearsed import RehearsedDoor
from meltguard.controller.board import Board
from meltguard.core.decision import Decision
from meltguard.core.fleet import MANAGED_LABEL, NodeView
from meltguard.core.policy import Policy, Pool
from meltguard.core.seen import Memory, Snapshot
from meltguard.core.units import GpuHours, Gpus, Instant, NodeName, PoolName, Seconds, Share, Units
from meltguard.errors import InvalidInput
from meltguard.rehearse.clock import RehearsedClock
from meltguard.rehearse.cluster import Cluster
from meltguard.rehearse.fleet_plan import FleetPlan, PoolPlan, ServicePlan
from meltguard.rehearse.lenders import Applied, Around, Frame, RehearsedLenders
from meltguard.rehearse.manifests import Manifests
from meltguard.rehearse.research import Research
from meltguard.rehearse.story import Story, Told
from meltguard.rehearse.surge import Surge
from meltguard.rehearse.workload import ServicePods
from meltguard.sim.fitted import from_figures, shipped
from meltguard.sim.ledger import Ledger
from meltguard.sim.requests import Request, Stream, numbered, streamed
from meltguard.sim.spread import seeded
from meltguard.sim.steering import Law, Steering
from meltguard.sim.world import Setting, World

HOUR: Final = 3600.0
OWN: Final = PoolName("own")
"""What the service's nodes are called where its policy names no pool."""

Work = Callable[[Random], tuple[Units, Seconds]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is rehearsed."""

    manifests: Manifests
    fleet: FleetPlan
    surge: Surge
    seed: int

    @property
    def policy(self) -> Policy:
        """The one."""
        return self.manifests.policy.policy

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
        return RestedLaw(plan.policy, memory, lenders.board)

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


def own_gpus(manifests: Manifests, fleet: FleetPlan) -> Gpus:
    """GPUs that the service has without any loan."""
    plan = pool_plan(fleet, taker_of(manifests, fleet).name)
    per_pod = manifests.policy.policy.gpus_per_pod
    return Gpus(plan.nodes * (plan.gpus // per_pod) * per_pod)


def pool_plan(fleet: FleetPlan, name: PoolName) -> PoolPlan:
    """A pool's nodes. Raises InvalidInput where the fleet does not tell."""
    if name not in fleet.pools:
        there = ", ".join(fleet.pools)
        raise InvalidInput(f"how many nodes pool {name} has is not told (told: {there}); add --nodes {name}=COUNT")
    return fleet.pools[name]


def mean_seconds(service: ServicePlan) -> Seconds:
    """GPU time of one request, as a mean."""
    if service.seconds_per_image is not None:
        return Seconds(service.seconds_per_image)
    recording = from_figures(shipped())
    return Seconds(sum(share * recording.mean_service_time(size) for size, share in recording.images.items()))


def _around(plan: Plan, clock: RehearsedClock) -> Around:
    cluster = Cluster()
    research = Research(cluster, clock)
    policy, chance = plan.policy, seeded(plan.seed, "model loads")
    fixed, spread = plan.fleet.service.model_load, from_figures(shipped()).model_load
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
        requests=lambda: _requests(plan),
        until=plan.surge.until,
        dawn=plan.surge.dawn,
    )


def _requests(plan: Plan) -> Iterator[Request]:
    surge, work = plan.surge, work_of(plan.fleet.service)
    streams = (
        Stream(tier=tier, rate=lambda at, tier=tier: surge.rate(tier, at), most=max(rates), work=work)
        for tier, rates in surge.rates.items()
    )
    return numbered(merge(*(streamed(one, surge.until, plan.seed) for one in streams)))


def work_of(service: ServicePlan) -> Work:
    """What one request costs: all alike where the fleet says how long an image takes, else as people were recorded."""
    if service.seconds_per_image is not None:
        each = Seconds(service.seconds_per_image)
        return lambda _: (Units(1.0), each)
    recording = from_figures(shipped())
    sizes, weights = list(recording.images), list(recording.images.values())

    def drawn(chance: Random) -> tuple[Units, Seconds]:
        (images,) = chance.choices(sizes, weights)
        return Units(float(images)), recording.service_time(images, chance)

    return drawn


def _borrowed(lenders: RehearsedLenders, around: Around) -> GpuHours:
    ended = sum(books.gpu_hours for books in lenders.books.of.values())
    open_now = sum(
        node.gpus * (around.clock.now() - node.claim.lent_at) / HOUR
        for node in around.cluster.nodes.values()
        if node.claim is not None and node.claim.lent_at is not None
    )
    return GpuHours(ended + open_now)
