"""A claim that somebody takes off is put back once; nothing is put back on a node that is home."""

from dataclasses import replace

import pytest

from meltguard.api.pool_status import LedgerStatus
from meltguard.api.to_core import PoolObject
from meltguard.controller.books import write_books
from meltguard.controller.pools_status import pool_status
from meltguard.core.fleet import CLAIM_ANNOTATION, MoveStep, NodeView
from meltguard.core.ledger import Books, closed, ended
from meltguard.core.pools import assign
from meltguard.core.rest import REST
from support.core_values import a_node
from support.mover_ground import POLICY, Ground, a_lender, a_taker


def unclaimed(node: NodeView) -> NodeView:
    """As after `kubectl annotate node ... meltguard.io/loan-`."""
    left = {key: text for key, text in node.annotations.items() if key != CLAIM_ANNOTATION}
    return replace(node, claim=None, annotations=left)


async def lent() -> Ground:
    ground = Ground()
    ground.want("gpu-1")
    await ground.passes(40)
    assert ground.step("gpu-1") is MoveStep.LENT
    return ground


async def test_it_is_put_back_and_the_node_comes_home_as_it_was() -> None:
    ground = await lent()
    ground.fleet.put(unclaimed(ground.node("gpu-1")))
    await ground.passes(2)
    assert ground.step("gpu-1") is MoveStep.LENT
    assert [reason for reason, _, _ in ground.posts.said].count("ClaimRestored") == 1
    ground.send_home("gpu-1")
    await ground.passes(12)
    home, before = ground.node("gpu-1"), a_node("gpu-1")
    assert ground.step("gpu-1") is None
    assert (home.labels, home.taints, home.unschedulable) == (before.labels, before.taints, before.unschedulable)


@pytest.mark.parametrize("passes", [1, 2, 3, 6])
async def test_it_is_put_back_at_any_step(passes: int) -> None:
    ground = Ground()
    ground.want("gpu-1")
    await ground.passes(passes)
    step = ground.step("gpu-1")
    ground.fleet.put(unclaimed(ground.node("gpu-1")))
    await ground.passes(1)
    assert ground.step("gpu-1") is not None, step


async def test_who_takes_it_off_twice_is_told_and_not_fought() -> None:
    ground = await lent()
    for _ in range(2):
        ground.fleet.put(unclaimed(ground.node("gpu-1")))
        await ground.passes(2)
    assert ground.step("gpu-1") is None
    said = [text for reason, name, text in ground.posts.said if reason == "MoveBlocked"]
    assert len(said) == 1
    assert "home to research by hand" in said[0]


async def test_a_node_that_was_brought_home_by_hand_is_left_alone() -> None:
    ground = await lent()
    ground.fleet.put(replace(a_node("gpu-1"), annotations={"meltguard.io/epoch": "1"}))
    await ground.passes(3)
    assert ground.step("gpu-1") is None
    assert "ClaimRestored" not in [reason for reason, _, _ in ground.posts.said]


async def rests(ground: Ground) -> None:
    """What was decided before it came home claims it no sooner than after its rest."""
    ground.want("gpu-1")
    await ground.passes(1)
    assert ground.step("gpu-1") is None
    ground.clock.advance(REST)
    ground.want("gpu-1")
    await ground.passes(1)
    assert ground.step("gpu-1") is not None


async def test_a_node_whose_release_was_not_heard_of_rests_all_the_same() -> None:
    ground = await lent()
    ground.send_home("gpu-1")
    ground.line.after = True
    while (step := ground.step("gpu-1")) is not None:
        ground.line.breaks_at = frozenset({ground.line.writes + 1} if step is MoveStep.HOME else ())
        await ground.passes(1)
    await rests(ground)
    assert told_home(ground) == 1
    assert ground.books.closed == ["gpu-1 Home"]


async def test_a_node_that_was_brought_home_by_hand_rests_too_and_its_loan_is_booked() -> None:
    ground = await lent()
    ground.fleet.put(replace(a_node("gpu-1"), annotations={"meltguard.io/epoch": "1"}))
    await rests(ground)
    assert told_home(ground) == 1
    assert ground.books.closed == ["gpu-1 Lent"]


def told_home(ground: Ground) -> int:
    return [reason for reason, name, _ in ground.posts.said if name == "gpu-1"].count("NodeReturned")


async def test_of_a_policy_that_is_gone_each_node_comes_home_though_another_did_before() -> None:
    """One that was at home already must not make the others' claims look as though somebody wanted them."""
    ground = Ground()
    ground.want("gpu-1", "gpu-2")
    await ground.passes(40)
    lent_still = ground.node("gpu-2")
    ground.resources.known.clear()
    ground.mover.board.forget(POLICY.uid)
    while ground.step("gpu-1") is not None:
        ground.fleet.put(lent_still)  # every write to it is undone, as by a conflict
        await ground.passes(1)
    await ground.passes(15)
    assert ground.step("gpu-2") is None


async def test_a_loan_that_cannot_be_booked_is_booked_later() -> None:
    ground = await lent()
    ground.books.busy = 3
    ground.fleet.put(replace(a_node("gpu-1"), annotations={"meltguard.io/epoch": "1"}))
    await ground.passes(3)
    assert (ground.books.closed, told_home(ground)) == ([], 0)
    await ground.passes(1)
    assert (ground.books.closed, told_home(ground)) == (["gpu-1 Lent"], 1)


async def test_a_view_that_is_old_puts_nothing_back_on_a_node_that_was_released() -> None:
    ground = await lent()
    ground.send_home("gpu-1")
    old: NodeView | None = None
    while ground.step("gpu-1") is not None:
        old = ground.node("gpu-1")
        await ground.passes(1)
    assert old is not None
    released = ground.node("gpu-1")
    ground.fleet.put(old)  # the mirror shows the claim once more, then learns that it went
    nodes = ground.fleet.view().nodes
    assert list(ground.mover.lost.look(nodes)) == []
    ground.fleet.put(released)
    await ground.passes(2)
    assert ground.step("gpu-1") is None


def with_copies(ground: Ground, ledger: LedgerStatus | None = None) -> PoolObject:
    """The lender as its status stands when the operator begins anew."""
    lender = a_lender()
    nodes = tuple(ground.fleet.nodes.values())
    view = assign([lender.pool], nodes)[lender.pool.name]
    status = pool_status(lender, view, lender.status, ground.clock.now())
    return replace(lender, status=status.model_copy(update={"ledger": ledger}))


async def test_it_is_put_back_where_it_came_off_while_no_operator_ran() -> None:
    ground = await lent()
    lender = with_copies(ground)
    ground.fleet.put(unclaimed(ground.node("gpu-1")))
    ground.mover = ground.started(epoch=2)
    ground.mover.lost.remember((lender,))
    await ground.passes(2)
    assert ground.step("gpu-1") is MoveStep.LENT
    ground.send_home("gpu-1")
    await ground.passes(12)
    home, before = ground.node("gpu-1"), a_node("gpu-1")
    assert (home.labels, home.taints, home.unschedulable) == (before.labels, before.taints, before.unschedulable)


async def test_a_loan_that_is_in_the_books_is_not_put_back_from_an_old_list() -> None:
    ground = await lent()
    claim = ground.node("gpu-1").claim
    assert claim is not None
    past = ended(ground.node("gpu-1"), claim, ground.clock.now())
    lender = with_copies(ground, write_books(closed(Books(), past, opened=True)))
    ground.fleet.put(unclaimed(ground.node("gpu-1")))
    ground.mover = ground.started(epoch=2)
    ground.mover.lost.remember((lender,))
    await ground.passes(2)
    assert ground.step("gpu-1") is None


@pytest.mark.parametrize("change", [{"way_home": "{}"}, {"way_home": None}, {"node_uid": None}, {"node_uid": "other"}])
async def test_a_copy_that_is_not_this_node_s_or_cannot_be_read_changes_nothing(change: dict[str, str | None]) -> None:
    ground = await lent()
    lender = with_copies(ground)
    loans = tuple(loan.model_copy(update=change) for loan in lender.status.loans)
    ground.fleet.put(unclaimed(ground.node("gpu-1")))
    ground.mover = ground.started(epoch=2)
    ground.mover.lost.remember((replace(lender, status=lender.status.model_copy(update={"loans": loans})),))
    await ground.passes(2)
    assert ground.step("gpu-1") is None


def lends_one(ground: Ground) -> None:
    """The lender lends one node at a time."""
    lending = a_lender().pool.lending
    assert lending is not None
    ground.resources.lent = (a_taker(), a_lender(replace(lending, max_loans=1)))


def spoiled(node: NodeView) -> NodeView:
    """As after somebody wrote nonsense into the annotation."""
    return replace(node, claim=None, claim_problem="not a claim of this version")


@pytest.mark.parametrize("passes", [1, 3, 40])
async def test_a_loan_whose_claim_cannot_be_read_still_counts(passes: int) -> None:
    """Unknown is not none: it still takes a place of the policy's and of the lender's."""
    ground = Ground()
    ground.want("gpu-1")
    await ground.passes(passes)
    ground.fleet.put(spoiled(ground.node("gpu-1")))
    counted = ground.mover.lost.counted(tuple(ground.fleet.nodes.values()))
    assert [node.name for node in counted if node.claim is not None] == ["gpu-1"]
    lends_one(ground)
    ground.want("gpu-2")
    await ground.passes(3)
    assert ground.step("gpu-2") is None
    assert ground.node("gpu-1").claim_problem, "hands off"


async def test_garbage_on_a_node_that_was_never_lent_is_no_loan() -> None:
    ground = Ground()
    ground.fleet.put(spoiled(ground.node("gpu-1")))
    lends_one(ground)
    ground.want("gpu-2")
    await ground.passes(3)
    assert ground.step("gpu-2") is not None


async def test_an_old_copy_does_not_take_a_lent_node_back_a_step() -> None:
    """The status may bear the step before: entering it again would drive the borrower's pods out."""
    ground = Ground()
    ground.want("gpu-1")
    while ground.step("gpu-1") is not MoveStep.RELABELLED:
        await ground.passes(1)
    lender = with_copies(ground)
    await ground.passes(3)
    assert ground.step("gpu-1") is MoveStep.LENT
    before = ground.node("gpu-1")
    ground.fleet.put(unclaimed(before))
    ground.mover = ground.started(epoch=2)
    ground.mover.lost.remember((lender,))
    await ground.passes(1)
    after = ground.node("gpu-1")
    assert ground.step("gpu-1") is MoveStep.LENT
    assert (after.labels, after.taints, after.unschedulable) == (before.labels, before.taints, before.unschedulable)
    assert after.claim is not None
    assert after.claim.lent_at is not None
