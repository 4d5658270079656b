"""The buyer on fakes: written down before it is done, done once, whatever breaks in between."""

from dataclasses import dataclass, field, replace

import pytest

from meltguard.api.pool_status import PoolStatus
from meltguard.api.provider_status import ProviderStatus, SpentStatus
from meltguard.api.to_core import PoolObject
from meltguard.controller.buyer import Buyer
from meltguard.controller.events import EventLog
from meltguard.controller.lost_claims import LostClaims
from meltguard.controller.mover import Board
from meltguard.controller.purchases_seen import has_bought, on_offer, ordered_for, recalls_of
from meltguard.controller.telemetry import Telemetry
from meltguard.core.fleet import LEAVING_ANNOTATION
from meltguard.core.policy import Lending
from meltguard.core.purchases import Scale, Stage
from meltguard.core.scaling import Removal
from meltguard.core.units import Epoch, Gpus, Instant, Money, NodeName, Seconds, Share
from support.core_values import a_node, a_pod, a_pool
from support.fake_moves import FakePosts, FakeResources, Line
from support.fake_providers import FakeDepartures, FakeOrderBooks, FakeProviders
from support.fakes import FakeClock, FakeFleet
from support.providers import a_scaling, a_want

LENDING = Lending(
    floor=0, floor_share=Share(0.0), max_loans=8, max_duration=Seconds(3600.0), borrower_labels={"team": "serving"}
)


def a_burst(**changes: object) -> PoolObject:
    pool = a_pool("burst", cost=1.0, lending=LENDING, scaling=a_scaling(**changes))
    return PoolObject(pool=pool, generation=1, deleting=False, status=PoolStatus())


@dataclass
class Ground:
    """A buyer and everything around it."""

    line: Line = field(default_factory=Line)
    pool: PoolObject = field(default_factory=a_burst)
    clock: FakeClock = field(default_factory=FakeClock)
    fleet: FakeFleet = field(default_factory=FakeFleet)
    posts: FakePosts = field(default_factory=FakePosts)

    def __post_init__(self) -> None:
        self.resources = FakeResources(lent=(self.pool,))
        self.books = FakeOrderBooks(self.resources, self.line)
        self.providers = FakeProviders(line=self.line)
        self.providers.put("burst", Scale(wanted=0, present=0))
        self.board = Board()
        self.buyer = self.started()

    def started(self) -> Buyer:
        """A buyer that knows nothing but what is written, as after a crash."""
        return Buyer(
            books=self.books,
            resources=self.resources,
            fleet=self.fleet,
            providers=self.providers,
            departures=FakeDepartures(self.fleet, self.line),
            events=EventLog(objects=self.posts, clock=self.clock, count=Telemetry().posted),
            clock=self.clock,
            lost=LostClaims(),
            board=self.board,
            epoch=Epoch(1),
        )

    @property
    def status(self) -> ProviderStatus:
        """What is written of the provider."""
        found = self.resources.lent[0].status.provider
        assert found is not None
        return found

    @property
    def wanted(self) -> int:
        """Replicas of the provider's object."""
        return self.providers.scales["burst"].wanted

    def want(self, missing: int) -> None:
        """As the service's next pass would say, with what it sees."""
        self.board.wants["policy-uid"] = a_want(missing, on_order=ordered_for("policy-uid", self.resources.pools()))

    async def passes(self, count: int = 1, seconds: float = 2.0) -> None:
        """So many passes, and time after each."""
        for _ in range(count):
            await self.buyer.run_once()
            self.clock.advance(seconds)

    def arrive(self) -> None:
        """The provider makes what is wanted, and removes what is marked and not wanted."""
        mine = [node for node in self.fleet.nodes.values() if node.labels.get("workload") == "burst"]
        for node in [node for node in mine if LEAVING_ANNOTATION in node.annotations][
            : max(0, len(mine) - self.wanted)
        ]:
            del self.fleet.nodes[node.name]
        for number in range(len(mine), self.wanted):
            self.fleet.put(a_node(f"burst-{number}-{self.clock.now():.0f}", "burst", created=self.clock.now()))
        self.providers.put("burst", replace(self.providers.scales["burst"], present=self.wanted))

    def said(self) -> list[str]:
        """Reasons of the Events."""
        return [reason for reason, _, _ in self.posts.said]


async def test_an_order_is_written_down_with_its_cost_before_it_is_made() -> None:
    ground = Ground()
    ground.want(16)
    await ground.passes()
    first, second = ground.books.written
    assert first.write is not None
    assert (first.write.before, first.write.after) == (0, 2)
    assert float(first.spent_today) > 0
    assert second.write is None
    assert ground.wanted == 2
    assert ordered_for("policy-uid", ground.resources.pools()) == Gpus(16)
    assert on_offer(ground.resources.pools()) == {"burst": second.available}


@pytest.mark.parametrize("after", [False, True], ids=["before it is taken", "with its answer lost"])
@pytest.mark.parametrize("at", range(1, 9))
async def test_whatever_write_breaks_two_nodes_come_and_go_once(*, at: int, after: bool) -> None:
    ground = Ground(line=Line(breaks_at=frozenset({at}), after=after))
    for _ in range(6):
        ground.want(16 - 8 * len(ground.fleet.nodes) - ordered_for("policy-uid", ground.resources.pools()))
        await ground.passes()
        ground.buyer = ground.started()
        ground.arrive()
    assert (ground.wanted, len(ground.fleet.nodes)) == (2, 2)
    ground.board.wants.clear()
    for _ in range(6):
        await ground.passes(seconds=301.0)
        ground.buyer = ground.started()
        ground.arrive()
    assert (ground.wanted, len(ground.fleet.nodes)) == (0, 0)
    await ground.passes()
    assert not has_bought(ground.resources.lent[0].status)


async def test_a_service_that_fell_silent_orders_nothing_twice() -> None:
    ground = Ground()
    ground.want(8)
    for _ in range(4):
        await ground.passes()
        ground.arrive()
    assert (ground.wanted, ground.status.ordered) == (1, 1)


async def test_nobody_elses_node_is_marked_or_counted_out() -> None:
    ground = Ground()
    ground.fleet.put(a_node("theirs", "burst"))
    ground.providers.put("burst", Scale(wanted=1, present=1))
    ground.want(8)
    await ground.passes()
    ground.arrive()
    await ground.passes()
    ground.board.wants.clear()
    for _ in range(5):
        await ground.passes(seconds=301.0)
        ground.arrive()
    assert list(ground.fleet.nodes) == ["theirs"]
    assert ground.wanted == 1
    assert not ground.fleet.nodes[NodeName("theirs")].unschedulable
    assert {"NodesOrdered", "NodesArrived", "NodesGivenBack"} <= set(ground.said())


async def test_a_node_that_is_used_while_it_leaves_is_opened_again() -> None:
    ground = Ground()
    ground.want(8)
    await ground.passes()
    ground.arrive()
    await ground.passes()
    ground.board.wants.clear()
    await ground.passes(2, seconds=301.0)
    node = next(iter(ground.fleet.nodes.values()))
    assert node.unschedulable
    ground.fleet.put(replace(node, pods=(a_pod(node=node.name),)))
    await ground.passes(2)
    node = ground.fleet.nodes[node.name]
    assert not node.unschedulable
    assert LEAVING_ANNOTATION not in node.annotations
    assert (ground.wanted, ground.status.nodes[0].stage) == (1, Stage.HERE)


async def test_books_that_cannot_be_read_order_nothing() -> None:
    ground = Ground()
    ground.want(8)
    await ground.passes()
    broken = ground.status.model_copy(update={"days": (SpentStatus(period="2027-01-15", amount="much"),)})
    status = ground.resources.lent[0].status.model_copy(update={"provider": broken})
    ground.resources.lent = (replace(ground.resources.lent[0], status=status),)
    ground.want(24)
    await ground.passes()
    assert ground.wanted == 1


async def test_an_unknown_scale_is_told_and_orders_nothing() -> None:
    ground = Ground()
    del ground.providers.scales["burst"]
    ground.want(8)
    await ground.passes()
    assert (ground.status.reason, ground.status.ordered) == ("ScaleUnknown", 0)


async def test_old_node_facts_order_nothing() -> None:
    ground = Ground()
    ground.fleet.age = Seconds(300.0)
    ground.want(8)
    await ground.passes()
    assert ground.books.written == []


async def test_a_node_whose_next_hour_does_not_fit_is_called_home() -> None:
    ground = Ground(pool=a_burst(per_day=Money(12.0), arrive_within=Seconds(60.0)))
    ground.want(8)
    await ground.passes()
    ground.arrive()
    await ground.passes()
    node = next(iter(ground.fleet.nodes.values()))
    ground.fleet.put(replace(node, pods=(a_pod(node=node.name),)))
    await ground.passes(70, seconds=60.0)
    recalls = recalls_of(ground.resources.pools(), Instant(ground.clock.now()))
    assert recalls[ground.pool.pool.name].nodes == {node.name}
    assert "SpendCapReached" in ground.said()


async def test_a_pool_that_is_deleted_gives_everything_back() -> None:
    ground = Ground(pool=a_burst(least=1, removal=Removal.ANY))
    await ground.passes()
    ground.arrive()
    await ground.passes()
    assert len(ground.fleet.nodes) == 1
    ground.resources.lent = (replace(ground.resources.lent[0], deleting=True),)
    for _ in range(4):
        await ground.passes()
        ground.arrive()
    assert (ground.wanted, has_bought(ground.resources.lent[0].status)) == (0, False)
