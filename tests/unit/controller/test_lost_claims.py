"""A claim that somebody takes off is put back once; nothing is put back on a node that is home."""

from dataclasses import replace

import pytest

from meltguard.core.fleet import CLAIM_ANNOTATION, MoveStep, NodeView
from support.core_values import a_node
from support.mover_ground import Ground


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
