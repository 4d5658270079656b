"""A mover on fakes, with busy research nodes and a policy that takes and gives back as the test says."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from meltguard.api.pool_status import PoolStatus
from meltguard.api.to_core import PoolObject
from meltguard.controller.claimer import Claimer
from meltguard.controller.events import EventLog
from meltguard.controller.leavers import Leavers
from meltguard.controller.lost_claims import LostClaims
from meltguard.controller.mover import Mover
from meltguard.controller.telemetry import Telemetry
from meltguard.core.arbiter import Wish
from meltguard.core.decision import Borrow
from meltguard.core.fleet import MoveStep, NodeView
from meltguard.core.move_actions import Intent, Wanted
from meltguard.core.policy import Lending, Policy
from meltguard.core.units import Epoch, NodeName, PodUid, PoolName
from support.core_values import a_node, a_pod, a_policy, a_pool
from support.drain_world import EVICTION
from support.fake_moves import FakeBooks, FakeMoves, FakePods, FakePosts, FakeResources, Line
from support.fakes import FakeClock, FakeFleet

POLICY = a_policy()


def a_lender(lending: Lending | None = None) -> PoolObject:
    """A research pool that lends busy nodes too."""
    pool = a_pool()
    assert pool.lending is not None
    terms = lending or replace(pool.lending, eviction=EVICTION)
    return PoolObject(pool=replace(pool, lending=terms), generation=1, deleting=False, status=PoolStatus())


def a_taker() -> PoolObject:
    """The inference pool."""
    return PoolObject(pool=a_pool("inference"), generation=1, deleting=False, status=PoolStatus())


def busy_nodes(count: int = 4) -> Iterator[NodeView]:
    """Research nodes with one pod each."""
    for number in range(1, count + 1):
        name = f"gpu-{number}"
        pod = a_pod(f"job-{number}", node=NodeName(name), uid=PodUid(f"pod-{number}"))
        yield a_node(name, pods=(pod,))


@dataclass
class Ground:
    """A mover and everything around it."""

    fleet: FakeFleet = field(default_factory=FakeFleet)
    clock: FakeClock = field(default_factory=FakeClock)
    line: Line = field(default_factory=Line)
    posts: FakePosts = field(default_factory=FakePosts)
    books: FakeBooks = field(default_factory=FakeBooks)
    resources: FakeResources = field(default_factory=lambda: FakeResources(lent=(a_taker(), a_lender())))

    def __post_init__(self) -> None:
        self.moves = FakeMoves(self.fleet, self.line)
        self.pods = FakePods(self.fleet, self.line)
        self.fleet.put(*busy_nodes())
        self.resources.known.add(POLICY.uid)
        self.mover = self.started()

    def started(self, epoch: int = 1) -> Mover:
        """A mover that has just begun, as after a crash."""
        events, lost = EventLog(objects=self.posts, clock=self.clock, count=Telemetry().posted), LostClaims()
        telemetry = Telemetry()
        return Mover(
            resources=self.resources,
            fleet=self.fleet,
            moves=self.moves,
            claimer=Claimer(resources=self.resources, fleet=self.fleet, census=self.fleet, clock=self.clock, lost=lost),
            leavers=Leavers(pods=self.pods, events=events, telemetry=telemetry),
            books=self.books,
            lost=lost,
            pods=self.pods,
            events=events,
            telemetry=telemetry,
            clock=self.clock,
            epoch=Epoch(epoch),
        )

    def want(self, *names: str, policy: Policy = POLICY) -> None:
        """Have these nodes borrowed."""
        borrows = tuple(
            Borrow(node=NodeName(name), home=PoolName("research"), to=PoolName("inference")) for name in names
        )
        self.mover.board.wishes(Wish(policy=policy, plan=borrows))

    def send_home(self, *names: str) -> None:
        """Have these nodes returned."""
        home = Intent(wanted=Wanted.HOME, why="calm")
        self.mover.board.intents[POLICY.uid] = {NodeName(name): home for name in names}

    async def passes(self, count: int) -> None:
        """Let so many seconds pass, each with a pass; evicted pods end at once."""
        for _ in range(count):
            await self.mover.run_once()
            self.clock.advance(1.0)
            self.pods.end()

    def node(self, name: str) -> NodeView:
        """A node as it is."""
        return self.fleet.nodes[NodeName(name)]

    def step(self, name: str) -> MoveStep | None:
        """How far its move is; None without one."""
        claim = self.node(name).claim
        return claim.step if claim else None
