"""The keeper of lenders' quotas: when it asks, what it writes, and what it says of what it cannot."""

from dataclasses import dataclass, field, replace

from meltguard.api.pool_status import PoolStatus
from meltguard.api.to_core import PoolObject
from meltguard.controller.lost_claims import LostClaims
from meltguard.controller.pools_status import pool_status
from meltguard.controller.quota_keeper import LOOK_EVERY, LentQuotas, QuotaKeeper
from meltguard.core.lent_quota import Quota
from meltguard.core.moves import new_claim
from meltguard.core.policy import Pool
from meltguard.core.pools import assign
from meltguard.core.quota_ref import QuotaRef
from meltguard.core.units import Gpus, Instant, NodeName, PoolName, Seconds
from support.core_values import a_node, a_pool
from support.fake_moves import FakeResources, Line
from support.fake_queues import FakeQueues
from support.fakes import FakeClock, FakeFleet

GPU = "nvidia.com/gpu"
REF = QuotaRef(cluster_queue="research", flavor="h100", resource=GPU)
RESEARCH = PoolName("research")


@dataclass
class Ground:
    """A lender of three nodes, and the keeper; a new one knows nothing but what stands at the queue."""

    pools: tuple[Pool, ...] = (a_pool(kueue=REF),)
    queues: FakeQueues = field(default_factory=lambda: FakeQueues({REF: Quota(nominal=24)}))
    fleet: FakeFleet = field(default_factory=FakeFleet)
    lost: LostClaims = field(default_factory=LostClaims)
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.resources = FakeResources()
        self.set_pools(*self.pools)
        for number in range(3):
            self.home(f"gpu-{number}")
        self.restart()

    def set_pools(self, *pools: Pool) -> None:
        """What people ask for now."""
        self.resources.lent = tuple(
            PoolObject(pool=pool, generation=1, deleting=False, status=PoolStatus()) for pool in pools
        )

    def restart(self) -> None:
        """A keeper that remembers nothing."""
        quotas = LentQuotas(self.queues, known={REF.cluster_queue})
        self.keeper = QuotaKeeper(
            quotas=quotas, resources=self.resources, fleet=self.fleet, lost=self.lost, clock=self.clock
        )

    def home(self, name: str) -> None:
        """A node without a claim."""
        self.fleet.put(a_node(name, by_kind={GPU: Gpus(8)}))

    def lend(self, name: str, gpus: int = 8) -> None:
        """A node under a claim."""
        at = (Instant(1000.0), Instant(9000.0))
        pools = (a_pool(), a_pool("inference"))
        node = a_node(name, by_kind={GPU: Gpus(gpus)} if gpus else {})
        self.fleet.put(replace(node, claim=new_claim(node, ("serving/image-gen", "uid"), pools, at, None)))

    async def look(self, times: int = 1) -> None:
        """So many passes."""
        for _ in range(times):
            await self.keeper.run_once()

    @property
    def nominal(self) -> int:
        """The number now."""
        found = self.queues.quotas[REF]
        assert isinstance(found, Quota)
        return found.nominal

    @property
    def said(self) -> tuple[bool, str]:
        """Whether it follows, and the reason."""
        word = self.keeper.quotas.words[REF]
        return word.holds, word.reason


async def test_a_loan_is_out_from_its_claim_on_and_back_at_home() -> None:
    ground = Ground()
    ground.lend("gpu-0")
    await ground.look()
    assert (ground.nominal, ground.said) == (16, (True, "Following"))
    ground.lend("gpu-1")
    await ground.look()
    ground.home("gpu-0")
    await ground.look()
    assert ground.nominal == 16
    ground.home("gpu-1")
    await ground.look()
    assert ground.queues.quotas[REF] == Quota(nominal=24)
    assert ground.keeper.is_even(RESEARCH)


async def test_a_successor_that_knows_nothing_puts_back_what_was_taken() -> None:
    ground = Ground()
    ground.lend("gpu-0")
    await ground.look()
    ground.restart()
    assert not ground.keeper.is_even(RESEARCH)
    await ground.look()
    assert ground.nominal == 16
    ground.home("gpu-0")
    ground.restart()
    await ground.look()
    assert ground.queues.quotas[REF] == Quota(nominal=24)


async def test_an_answer_that_is_lost_takes_nothing_out_twice() -> None:
    for after in (False, True):
        ground = Ground()
        ground.queues.line = Line(breaks_at=frozenset({1}), after=after)
        ground.lend("gpu-0")
        await ground.look()
        assert ground.said == (False, "QuotaUnknown")
        ground.clock.advance(LOOK_EVERY)
        await ground.look()
        assert (ground.nominal, ground.said) == (16, (True, "Following"))


async def test_nothing_is_asked_while_no_loan_begins_or_ends_but_now_and_then() -> None:
    ground = Ground()
    await ground.look(5)
    before = ground.queues.reads
    await ground.look(5)
    assert ground.queues.reads == before == 1
    ground.clock.advance(LOOK_EVERY)
    await ground.look(5)
    assert ground.queues.reads == 2


async def test_what_others_set_is_left_alone_and_told() -> None:
    ground = Ground()
    ground.lend("gpu-0")
    await ground.look()
    found = ground.queues.quotas[REF]
    assert isinstance(found, Quota)
    ground.queues.quotas[REF] = replace(found, nominal=24)
    ground.lend("gpu-1")
    await ground.look()
    assert (ground.nominal, ground.said) == (24, (False, "OverwrittenByOthers"))
    assert "take the annotation meltguard.io/lent-quota off" in ground.keeper.quotas.words[REF].text
    for name in ("gpu-0", "gpu-1"):
        ground.home(name)
    await ground.look()
    assert ground.queues.quotas[REF] == Quota(nominal=24)


async def test_what_cannot_be_followed_is_a_condition_with_the_next_step() -> None:
    ground = Ground(queues=FakeQueues({REF: "24500m"}))
    ground.lend("gpu-0")
    await ground.look()
    assert ground.said == (False, "QuotaUnusable")
    one = ground.resources.lent[0]
    view = assign([one.pool], ground.fleet.view().nodes)[RESEARCH]
    status = pool_status(one, view, one.status, ground.clock.now(), ground.keeper.quotas.words[REF])
    told = next(said for said in status.conditions if said.type == "QuotaFollows")
    assert (told.status, told.reason) == ("False", "QuotaUnusable")
    assert "write it as a whole number" in told.message
    ground.home("gpu-0")
    assert ground.keeper.is_even(RESEARCH)


async def test_lent_nodes_without_the_resource_are_told_and_not_taken_for_nothing() -> None:
    ground = Ground()
    ground.lend("gpu-0", gpus=0)
    await ground.look()
    assert (ground.nominal, ground.said) == (24, (False, "NotOnNodes"))


async def test_an_old_view_of_the_nodes_changes_no_number() -> None:
    ground = Ground()
    ground.lend("gpu-0")
    await ground.look()
    ground.home("gpu-0")
    ground.fleet.age = Seconds(600.0)
    await ground.look()
    assert ground.nominal == 16


async def test_a_node_whose_claim_somebody_took_off_is_still_lent() -> None:
    ground = Ground()
    ground.lend("gpu-0")
    tuple(ground.lost.look(ground.fleet.view().nodes))
    await ground.look()
    ground.home("gpu-0")
    await ground.look()
    assert ground.nominal == 16
    ground.lost.forget(NodeName("gpu-0"))
    await ground.look()
    assert ground.nominal == 24


async def test_pools_of_one_number_are_counted_together() -> None:
    other = a_pool("other", kueue=REF)
    ground = Ground(pools=(a_pool(kueue=REF), other))
    ground.lend("gpu-0")
    node = a_node("gpu-9", pool="other", by_kind={GPU: Gpus(8)})
    at = (Instant(1000.0), Instant(9000.0))
    ground.fleet.put(replace(node, claim=new_claim(node, ("a/b", "uid"), (other, a_pool("inference")), at, None)))
    await ground.look()
    assert ground.nominal == 8


async def test_a_number_that_no_pool_names_any_more_is_put_back_once_its_nodes_are_home() -> None:
    ground = Ground()
    ground.lend("gpu-0")
    await ground.look()
    ground.set_pools(a_pool())
    ground.clock.advance(LOOK_EVERY)
    await ground.look()
    assert ground.nominal == 16
    ground.home("gpu-0")
    ground.clock.advance(LOOK_EVERY)
    await ground.look()
    assert ground.queues.quotas[REF] == Quota(nominal=24)


async def test_a_pool_that_names_another_queue_while_its_nodes_are_lent_leaves_nothing_behind() -> None:
    """Though the operator begins anew in between, and remembers nothing of the old name."""
    other = replace(REF, cluster_queue="renamed")
    ground = Ground(queues=FakeQueues({REF: Quota(nominal=24), other: Quota(nominal=24)}))
    ground.lend("gpu-0")
    await ground.look()
    assert ground.nominal == 16
    ground.set_pools(a_pool(kueue=other))
    ground.restart()
    await ground.look()
    renamed = ground.queues.quotas[other]
    assert isinstance(renamed, Quota)
    assert renamed.nominal == 16, "what is lent is out of the number that the pool names now"
    ground.home("gpu-0")
    ground.clock.advance(LOOK_EVERY)
    await ground.look()
    assert ground.queues.quotas == {REF: Quota(nominal=24), other: Quota(nominal=24)}
