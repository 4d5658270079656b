"""Services over several lenders: each decides by the one decision, and one mover carries it out, on fakes.

Real are decide(), the memory as it stands in status, the board, the lenders' books, the arbiter and the mover.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from meltguard.api.memory import read_memory, write_memory
from meltguard.api.pool_status import PoolStatus
from meltguard.api.to_core import PoolObject
from meltguard.controller.books import lately_home, lent_by, read_books, write_books
from meltguard.controller.mover import Mover
from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.fleet import Claim, MoveStep, NodeView
from meltguard.core.ledger import closed, ended
from meltguard.core.load import PodLoad, TierLoad
from meltguard.core.memory import Memory
from meltguard.core.policy import Policy
from meltguard.core.pools import PoolView, assign, loans_of
from meltguard.core.seen import RecallOrder, Snapshot
from meltguard.core.units import Gpus, NodeName, PodUid, PoolName, Seconds, Share, Units, UnitsPerSecond
from support.core_values import FREE, a_node, a_pool
from support.fake_moves import FakeResources, Line
from support.fakes import FakeClock
from support.mover_ground import Ground
from support.takers import a_lending_pool, a_taking_policy

PACE: Final = Seconds(5.0)
"""Between two passes."""

OWN: Final = 2
"""GPUs of each service's own; every node has one."""

FULL: Final = 0.98
"""What decide() lets a GPU do of its rate."""

POOLS: Final = (a_pool("inference"), a_lending_pool("research", 2), a_lending_pool("lab", 1, share=0.5))
SIZES: Final = {"research": 6, "lab": 4}
"""Nodes; four and two of them can be lent."""

LENDABLE: Final = 6


def a_rival(name: str, priority: int = 1, weight: int = 1) -> Policy:
    """Gives back soon after its surge."""
    policy = a_taking_policy(name, priority, weight)
    assert policy.capacity is not None
    return replace(policy, dwell=Seconds(10.0), capacity=replace(policy.capacity, return_after=Seconds(20.0)))


@dataclass
class KeptBooks:
    """The lenders' books in their statuses; the way to them breaks as any other."""

    resources: FakeResources
    clock: FakeClock
    line: Line

    async def close(self, node: NodeView, claim: Claim) -> None:
        """As the mover expects."""
        await asyncio.sleep(0)
        with self.line.write():
            self.resources.lent = tuple(self._booked(one, node, claim) for one in self.resources.lent)

    def _booked(self, one: PoolObject, node: NodeView, claim: Claim) -> PoolObject:
        if one.pool.name != claim.home:
            return one
        loan = ended(node, claim, self.clock.now())
        books = closed(read_books(one.status), loan, opened=claim.lent_at is not None)
        return replace(one, status=PoolStatus(ledger=write_books(books)))


@dataclass
class Service:
    """One of those that want nodes."""

    policy: Policy
    wants: int = 0  # GPUs beyond its own
    memory: Memory = field(default_factory=Memory)
    last: Decision | None = None


@dataclass
class RivalWorld:
    """All of it. Time goes on by passes."""

    services: dict[str, Service]  # by policy uid
    ground: Ground = field(default_factory=Ground)
    recalls: dict[PoolName, RecallOrder] = field(default_factory=dict)
    epoch: int = 1
    passes: int = 0
    pace: Seconds = PACE

    @classmethod
    def of(cls, *policies: Policy) -> "RivalWorld":
        """A quiet day."""
        world = cls(services={policy.uid: Service(policy) for policy in policies})
        ground = world.ground
        ground.fleet.nodes.clear()
        for pool, count in SIZES.items():
            ground.fleet.put(*(a_node(f"{pool}-{number}", pool, gpus=Gpus(1)) for number in range(count)))
        ground.resources.known |= world.services.keys()
        ground.resources.lent = tuple(
            PoolObject(pool=pool, generation=1, deleting=False, status=PoolStatus()) for pool in POOLS
        )
        ground.mover = world._started()
        return world

    def _started(self) -> Mover:
        mover = self.ground.started(self.epoch)
        mover.books = KeptBooks(self.ground.resources, self.ground.clock, self.ground.line)
        mover.board.remember(lately_home(self.ground.resources.lent))
        for service in self.services.values():
            mover.board.remember(service.memory.rested)
        return mover

    @property
    def nodes(self) -> list[NodeView]:
        """As they are."""
        return list(self.ground.fleet.nodes.values())

    @property
    def pools(self) -> Mapping[PoolName, PoolView]:
        """With their nodes."""
        return assign(POOLS, self.nodes)

    def held(self, uid: str) -> int:
        """Nodes that are claimed for a service."""
        return len(loans_of(uid, self.nodes))

    def shares(self) -> dict[str, int]:
        """By policy name."""
        return {one.policy.name: self.held(uid) for uid, one in self.services.items()}

    def crash(self) -> None:
        """Another holder begins, with what stands in statuses and on nodes."""
        self.epoch += 1
        for service in self.services.values():
            service.memory = read_memory(write_memory(service.memory))
        self.ground.mover = self._started()

    def recall(self, lender: PoolName) -> None:
        """A person wants a lender's nodes back."""
        self.recalls[lender] = RecallOrder(nodes=frozenset(), before=self.ground.clock.now(), reason="a deadline")

    async def go_on(self) -> None:
        """Every service decides, one after the other, the first one another each time; then the mover has its pass."""
        order = sorted(self.services)
        turn = self.passes % len(order)
        for uid in (*order[turn:], *order[:turn]):
            self._decide(self.services[uid])
        await self.ground.mover.run_once()
        self.ground.clock.advance(self.pace)
        self.passes += 1

    def _decide(self, service: Service) -> None:
        """As the service's own loop does it."""
        board, policy, now = self.ground.mover.board, service.policy, self.ground.clock.now()
        memory = replace(service.memory, rested=dict(board.rested))
        seen = replace(self._seen(service), peers=board.others(policy.uid, now))
        decision = decide(policy, memory, seen, now)
        if self.passes % 7 == 0:
            shuffled = replace(seen, peers=seen.peers[::-1], pools=dict(reversed(list(seen.pools.items()))))
            again = decide(policy, memory, shuffled, now)
            assert (again.borrow, again.intents) == (decision.borrow, decision.intents), "the same, said otherwise"
        service.memory, service.last = decision.memory, decision
        board.decided(policy, decision)

    def _seen(self, service: Service) -> Snapshot:
        policy, now, loans = service.policy, self.ground.clock.now(), loans_of(service.policy.uid, self.nodes)
        serving = [node.name for node in loans if node.claim and node.claim.step is MoveStep.LENT]
        places = [*(NodeName(f"{policy.name}-{number}") for number in range(OWN)), *serving]
        return Snapshot(
            ready_pods=len(places),
            loads=loads_on(places, FULL * (OWN + service.wants - 0.5) if service.wants else 0.1),
            readings=(),
            pools=self.pools,
            loans=loans,
            namespace_labels={"team": "serving"},
            workload=None,
            fleet_age=Seconds(1.0),
            recalls=self.recalls,
            lent_lately=lent_by(self.ground.resources.lent, now),
        )


def loads_on(places: Sequence[NodeName], rate: float) -> tuple[PodLoad, ...]:
    """A pod of one GPU on each node, under an even share of so many units a second."""
    each = rate / len(places)
    busy = min(1.0, each)
    tier = TierLoad(
        offered=UnitsPerSecond(each), admitted=UnitsPerSecond(each), waiting=Units(0.0), wait_p99=Seconds(0.0)
    )
    return tuple(
        PodLoad(
            pod=PodUid(f"pod-{name}"),
            node=name,
            gpus=Gpus(1),
            age=Seconds(0.5),
            span=Seconds(2.0),
            busy=Share(busy),
            done=UnitsPerSecond(busy),
            in_flight=Units(1.0),
            tiers={FREE: tier},
        )
        for name in places
    )
