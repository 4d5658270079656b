"""The mover on fakes: claims carried out and home, whatever fails at whichever write."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from meltguard.core.arbiter import Wish
from meltguard.core.fleet import MoveStep, NodeView
from meltguard.core.policy import HarmBounds
from meltguard.core.units import NodeName, PodUid, Seconds
from meltguard.errors import Fenced, InvalidInput
from support.core_values import a_pod
from support.drain_world import EVICTION
from support.fake_moves import Line
from support.fakes import FakeFleet
from support.mover_ground import POLICY, Ground, a_lender, a_taker


async def test_a_busy_node_is_borrowed_and_returned_as_it_was() -> None:
    ground = Ground()
    before = replace(ground.node("gpu-1"), pods=())
    ground.want("gpu-1")
    await ground.passes(40)
    assert ground.step("gpu-1") is MoveStep.LENT
    assert ground.pods.evicted == ["job-1"]
    ground.send_home("gpu-1")
    await ground.passes(10)
    after = ground.node("gpu-1")
    assert (after.labels, after.taints, after.unschedulable) == (before.labels, before.taints, before.unschedulable)
    assert ground.books.closed == ["gpu-1 Home"]
    reasons = [reason for reason, _, _ in ground.posts.said]
    assert [reasons.count(one) for one in ("NodeBorrowed", "DrainBegun", "EvictionNotice", "NodeReturned")] == [1] * 4


async def serving_at_the_borrower(ground: Ground) -> None:
    """One lent node with a serving pod on it."""
    ground.want("gpu-1")
    await ground.passes(40)
    assert ground.step("gpu-1") is MoveStep.LENT
    pod = a_pod("server", node=NodeName("gpu-1"), uid=PodUid("server-uid"))
    ground.fleet.put(replace(ground.node("gpu-1"), pods=(pod,)))


async def test_pods_of_a_policy_that_is_gone_are_asked_to_leave_at_once() -> None:
    """Nobody is left who would lower the replicas: to wait for it would keep the node from its owners."""
    ground = Ground()
    await serving_at_the_borrower(ground)
    ground.resources.known.clear()
    await ground.passes(6)
    assert ground.pods.evicted == ["job-1", "server"]
    assert ground.step("gpu-1") is None


async def test_who_has_not_begun_to_leave_after_a_while_is_evicted() -> None:
    ground = Ground()
    await serving_at_the_borrower(ground)
    ground.send_home("gpu-1")
    await ground.passes(15)
    assert ground.step("gpu-1") is MoveStep.RECALLED
    assert ground.pods.evicted == ["job-1"]
    await ground.passes(15)
    assert ground.pods.evicted == ["job-1", "server"]
    assert ground.step("gpu-1") is None


class Meanwhile(FakeFleet):
    """While the first node is read for its claim, services go on deciding."""

    happens: Callable[[], None] | None = None

    @override
    async def fresh(self, node: NodeName) -> NodeView | None:
        if self.happens is not None:
            self.happens, happens = None, self.happens
            happens()
        return await super().fresh(node)


async def test_who_decides_otherwise_during_the_claims_gets_no_more_of_them() -> None:
    """Two nodes are awarded; the policy wants none any more while the first is read, before its claim is written."""
    fleet = Meanwhile()
    ground = Ground(fleet=fleet)
    ground.want("gpu-1", "gpu-2")
    fleet.happens = ground.want
    await ground.passes(1)
    assert [ground.step(name) for name in ("gpu-1", "gpu-2")] == [None, None]


async def test_who_wants_fewer_since_gets_no_more_than_those() -> None:
    """Three nodes are awarded; while the first is claimed, two are enough."""
    fleet = Meanwhile()
    ground = Ground(fleet=fleet)
    ground.want("gpu-1", "gpu-2", "gpu-3")
    fleet.happens = lambda: ground.want("gpu-3", "gpu-4")
    await ground.passes(1)
    steps = [ground.step(f"gpu-{number}") for number in range(1, 5)]
    assert steps == [MoveStep.CLAIMED, MoveStep.CLAIMED, None, None]


async def test_a_bound_that_was_lowered_since_holds_for_what_was_awarded_before() -> None:
    """The first of three was prepared by the policy as it was, and is left; the second is all that the bound allows."""
    fleet = Meanwhile()
    ground = Ground(fleet=fleet)
    ground.want("gpu-1", "gpu-2", "gpu-3")
    assert POLICY.capacity is not None
    lowered = replace(POLICY, capacity=replace(POLICY.capacity, max_loans=1))
    fleet.happens = lambda: ground.want("gpu-1", "gpu-2", policy=lowered)
    await ground.passes(1)
    assert [ground.step(f"gpu-{number}") for number in range(1, 4)] == [None, MoveStep.CLAIMED, None]
    assert "has all 1 loans out" in str(
        [words for reason, _, words in ground.posts.said if reason == "BorrowingRefused"]
    )


async def test_what_was_decided_before_a_claim_was_seen_claims_no_second_node_for_it() -> None:
    fleet = Meanwhile()
    ground = Ground(fleet=fleet)
    ground.want("gpu-1")
    fleet.happens = lambda: ground.want("gpu-2")
    await ground.passes(3)
    assert ground.step("gpu-2") is None
    ground.want("gpu-2")
    await ground.passes(1)
    assert ground.step("gpu-2") is MoveStep.CLAIMED


async def test_a_bug_met_at_one_node_keeps_no_other_from_its_way() -> None:
    ground = Ground()
    ground.want("gpu-1", "gpu-2")
    await ground.passes(1)
    ground.moves.bugs[NodeName("gpu-1")] = ZeroDivisionError("ours")
    for _ in range(40):
        with pytest.raises(ExceptionGroup) as met:
            await ground.passes(1)
        assert [type(bug) for bug in met.value.exceptions] == [ZeroDivisionError]
        ground.clock.advance(1.0)
        ground.pods.end()
    assert ground.step("gpu-2") is MoveStep.LENT


async def test_a_move_that_only_a_person_can_mend_says_so_and_keeps_no_other_waiting() -> None:
    ground = Ground()
    ground.want("gpu-1", "gpu-2")
    await ground.passes(1)
    ground.moves.bugs[NodeName("gpu-1")] = InvalidInput("node gpu-1 is not managed any more; label it again")
    await ground.passes(40)
    assert ground.step("gpu-2") is MoveStep.LENT
    assert "label it again" in ground.mover.board.waits[NodeName("gpu-1")]
    assert [name for reason, name, _ in ground.posts.said if reason == "MoveBlocked"] == ["gpu-1"]


async def test_a_fence_ends_the_pass_at_once() -> None:
    ground = Ground()
    ground.want("gpu-1")
    await ground.passes(1)
    ground.moves.bugs[NodeName("gpu-1")] = Fenced("a later leader is at work")
    with pytest.raises(Fenced):
        await ground.passes(1)


async def test_a_loan_is_booked_before_its_claim_comes_off() -> None:
    ground = Ground()
    ground.want("gpu-1")
    await ground.passes(40)
    ground.books.busy = 3
    ground.send_home("gpu-1")
    await ground.passes(5)
    assert ground.step("gpu-1") is MoveStep.HOME
    await ground.passes(5)
    assert ground.step("gpu-1") is None
    assert len(ground.books.closed) == 1


REFUSALS = {
    "its budget would not bear it": {"eviction": replace(EVICTION, notice=Seconds(500.0))},
    "the pool lends idle nodes only": {"eviction": None},
    "the floor": {"floor": 4},
    "all loans are out": {"max_loans": 0},
}


@pytest.mark.parametrize("changes", REFUSALS.values(), ids=REFUSALS)
async def test_what_changed_since_the_decision_keeps_the_node_unclaimed(changes: dict[str, object]) -> None:
    ground = Ground()
    lending = a_lender().pool.lending
    assert lending is not None
    ground.resources.lent = (a_taker(), a_lender(replace(lending, **changes)))  # type: ignore[arg-type]
    ground.want("gpu-1")
    await ground.passes(3)
    assert ground.step("gpu-1") is None
    assert not ground.moves.steps
    assert [reason for reason, _, _ in ground.posts.said] == ["BorrowingRefused"]


async def test_two_claims_of_one_pass_share_the_floor() -> None:
    ground = Ground()
    ground.want("gpu-1", "gpu-2", "gpu-3")  # four nodes, floor two
    await ground.passes(2)
    assert [ground.step(f"gpu-{number}") is not None for number in (1, 2, 3)] == [True, True, False]


async def test_so_many_nodes_are_emptied_at_a_time_whoever_they_are_for() -> None:
    """The claim counts them anew: two policies may have planned a node each."""
    ground = Ground()
    lending = a_lender().pool.lending
    assert lending is not None
    ground.resources.lent = (a_taker(), a_lender(replace(lending, floor=0, bounds=HarmBounds(nodes_at_once=1))))
    ground.want("gpu-1", "gpu-2")
    plan = ground.mover.board.wanted[POLICY.uid].plan
    told = tuple(replace(borrow, victims=(f"Pod research/{borrow.node}",)) for borrow in plan)
    ground.mover.board.wishes(Wish(policy=POLICY, plan=told))
    await ground.passes(2)
    assert [ground.step(f"gpu-{number}") is not None for number in (1, 2)] == [True, False]
    assert any("has 1 node being emptied" in text for _, _, text in ground.posts.said)


@settings(max_examples=200, deadline=None)
@given(
    breaks_at=st.frozensets(st.integers(1, 30), max_size=4),
    after=st.sampled_from([True, False]),
    home_at=st.integers(0, 60),
    restarts=st.sampled_from([True, False]),
)
async def test_a_crash_at_any_write_leads_to_the_same_end(
    breaks_at: frozenset[int], *, after: bool, home_at: int, restarts: bool
) -> None:
    ground = Ground(line=Line(breaks_at=breaks_at, after=after))
    before = {name: (node.labels, node.taints, node.unschedulable) for name, node in ground.fleet.nodes.items()}
    ground.want("gpu-1")
    for second in range(150):
        if second == home_at or second > 100:
            ground.send_home("gpu-1")
        written = ground.line.writes
        await ground.passes(1)
        if restarts and breaks_at & frozenset(range(written + 1, ground.line.writes + 1)):
            ground.mover = ground.started(epoch=second + 2)
    now = {name: (node.labels, node.taints, node.unschedulable) for name, node in ground.fleet.nodes.items()}
    assert all(node.claim is None for node in ground.fleet.nodes.values())
    assert now == before
    assert len(ground.pods.evicted) == len(set(ground.pods.evicted))
    assert all(not pod.notice for node in ground.fleet.nodes.values() for pod in node.pods if not pod.terminating)


async def test_a_floor_is_never_left_to_a_view_that_is_behind() -> None:
    """Two of four nodes break, and the mirror does not know: the count before the claim does."""
    ground = Ground()
    assert ground.resources.lent[1].pool.lending is not None
    floor = ground.resources.lent[1].pool.lending.floor
    ground.fleet.seen = ground.fleet.view()
    healthy = sorted(ground.fleet.nodes)[:floor]
    for name in set(ground.fleet.nodes) - set(healthy):
        ground.fleet.put(replace(ground.fleet.nodes[name], ready=False))
    ground.want(*healthy[:1])
    await ground.passes(1)
    assert ground.moves.steps == []
    assert any("needed for the floor" in text for _, _, text in ground.posts.said)


@pytest.mark.parametrize("whose", ["another-policy", POLICY.uid])
async def test_a_loan_that_the_view_does_not_show_counts(whose: str) -> None:
    """It bears the borrower's labels by now; the lender's bound holds for all policies, a policy's for all lenders."""
    ground = Ground()
    lending = a_lender().pool.lending
    assert lending is not None
    assert POLICY.capacity is not None
    most = 1 if whose != POLICY.uid else 4
    ground.resources.lent = (a_taker(), a_lender(replace(lending, floor=0, max_loans=most)))
    ground.want("gpu-4")
    await ground.passes(1)
    claim = ground.node("gpu-4").claim
    assert claim is not None
    ground.fleet.put(replace(ground.node("gpu-4"), claim=None))
    ground.fleet.lag()
    lent = replace(claim, policy_uid=whose, step=MoveStep.LENT)
    ground.fleet.put(replace(ground.node("gpu-4"), claim=lent, labels=dict(a_taker().pool.labels)))
    policy = replace(POLICY, capacity=replace(POLICY.capacity, max_loans=1))
    ground.want("gpu-1")
    ground.mover.board.wishes(replace(ground.mover.board.wanted[POLICY.uid], policy=policy))
    await ground.passes(1)
    assert ground.step("gpu-1") is None
