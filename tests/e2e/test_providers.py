"""A surge that lenders cannot meet: nodes are bought where they are cheapest, and given back when nobody needs them."""

from pathlib import Path
from typing import Final

import pytest

from faults import world
from meltguard.localcluster.plane import Plane
from support.buying_scene import CAPS, CHEAP, DEAR, Scene, a_policy, a_provider, scene_of
from support.overload import until
from support.provisioner import REFUSED_BY, replicas

pytestmark = pytest.mark.plane

PLENTY: Final = 1000.0
FIRST_REST: Final = 60.0
DEMANDS: Final = (21.0, 29.0, 37.0, 45.0)
"""Units a second: one node of eight GPUs more each; the first is beyond the two pods that serve."""

BEYOND: Final = 53.0
NOTICED: Final = 5.0
"""Seconds that may pass between a failure and the removal of what failed."""


async def test_half_of_the_orders_fail_and_demand_is_met_from_the_next_below_the_caps(
    lone_plane: Plane, tmp_path: Path
) -> None:
    pools = {name: a_provider(name, per_day=CAPS[name], per_month=PLENTY) for name in CAPS}
    async with scene_of(lone_plane, tmp_path, pools, {CHEAP: 2}) as scene:
        await scene.found.admin.apply(a_policy(borrowFrom=[CHEAP, DEAR]))
        await met_from_the_next(scene)
        await survives_a_kill(scene)
        await asked_again_after_its_rest(scene)
        scene.ebb()
        for name in CAPS:
            await scene.balances(name)
            assert scene.provisioner.most_at_once(name) <= 2


async def met_from_the_next(scene: Scene) -> None:
    """Three nodes are missing: of two orders one fails at the cheap provider, the dear one delivers what is missing."""
    await until(lambda: serve(scene, world.SERVERS), 60.0)
    scene.found.agents.ask(DEMANDS[2])
    await scene.lends(cheap=1, dear=2)
    await scene.meets_demand(5)
    cheap, dear = await scene.provider(CHEAP), await scene.provider(DEAR)
    assert (cheap["ordered"], cheap["arrived"], cheap["failed"]) == (2, 1, 1)
    assert dear["failed"] == 0
    assert cheap["reason"] == "NoCapacity"


async def survives_a_kill(scene: Scene) -> None:
    """A new process knows what was ordered and spent."""
    before = {name: await scene.provider(name) for name in CAPS}
    await scene.found.operator.kill()
    await scene.found.operator.up()
    await scene.decided_again()
    for name in CAPS:
        after = await scene.provider(name)
        assert after["ordered"] == before[name]["ordered"]
        assert float(after["spentToday"]) >= float(before[name]["spentToday"]) - 0.5


async def asked_again_after_its_rest(scene: Scene) -> None:
    """The dear one has reached its cap, so a node more waits for the one that failed; now it delivers."""
    scene.found.agents.ask(DEMANDS[3])
    await scene.lends(cheap=2, dear=2)
    await scene.meets_demand(6)
    cheap = await scene.provider(CHEAP)
    assert (cheap["ordered"], cheap["arrived"], cheap["failed"], cheap["failures"]) == (3, 2, 1, 0)
    _, failed, again = scene.provisioner.ordered[CHEAP]
    assert failed.gone_at is not None
    assert again.ordered_at - failed.gone_at >= FIRST_REST - NOTICED


async def serve(scene: Scene, count: int) -> bool:
    return bool(((await scene.status()).get("decision") or {}).get("answeringPods") == count)


async def test_buy_first_keep_a_minimum_take_a_no_at_its_word_and_stop_at_the_months_cap(
    lone_plane: Plane, tmp_path: Path
) -> None:
    pools = {CHEAP: a_provider(CHEAP, per_day=CAPS[CHEAP], per_month=CAPS[CHEAP], min=1, refusedBy=REFUSED_BY)}
    async with scene_of(lone_plane, tmp_path, pools, {}) as scene:
        admin, agents = scene.found.admin, scene.found.agents
        for name in ("research-1", "research-2"):
            await admin.apply(world.a_node(name, "research"))
        await admin.apply(world.pools(world.Shape(floor=0, max_loans=4))[1])
        await admin.apply(a_policy(borrowFrom=["research", CHEAP], order=["Buy", "Borrow"], maxLoans=5))
        await until(lambda: minimum_is_here(scene), 60.0)
        await until(lambda: serve(scene, world.SERVERS), 60.0)

        agents.ask(DEMANDS[0])  # what stands there paid is used before anybody is asked
        await scene.lends(cheap=1)
        await scene.provisioner.refuse(CHEAP, "sold out in this region")
        await until(lambda: refuses(scene, "NoCapacity", "sold out in this region"), 30.0)
        ordered = len(scene.provisioner.ordered[CHEAP])
        agents.ask(DEMANDS[2])  # its word is taken: no order, and so no waiting for one
        await until(lambda: research_lends(scene), 60.0)
        assert len(scene.provisioner.ordered[CHEAP]) == ordered

        await scene.provisioner.refuse(CHEAP, "")
        agents.ask(DEMANDS[3])
        await scene.lends(cheap=2, research=2)
        await scene.meets_demand(6)
        await until(lambda: refuses(scene, "SpendCapReached", "cap"), 30.0)
        agents.ask(BEYOND)  # a third node would fit in neither cap
        await until(lambda: no_provider_delivers(scene, "spend cap"), 60.0)  # once the shortage is no chance
        await scene.decided_again()
        await scene.decided_again()
        assert await scene.lent_of() == {CHEAP: 2, "research": 2}
        assert scene.provisioner.most_at_once(CHEAP) == 2

        scene.ebb()
        await until(lambda: minimum_is_here(scene), 120.0)


async def research_lends(scene: Scene) -> bool:
    found = await scene.lent_of()
    return found["research"] >= 1 and found.total() == 3


async def minimum_is_here(scene: Scene) -> bool:
    """One node, which nobody needs, for longer than one that is above the minimum may stay."""
    cheap, wanted = await scene.provider(CHEAP), await replicas(scene.found.admin, CHEAP)
    return not await scene.lent() and wanted == 1 and cheap.get("here") == 1 and len(cheap["nodes"]) == 1


async def no_provider_delivers(scene: Scene, why: str) -> bool:
    rules = {one["rule"]: one for one in (await scene.status())["decision"]["rules"]}
    found = rules.get("a provider delivers", {"holds": True})
    return not found["holds"] and why in found["text"]


async def refuses(scene: Scene, reason: str, why: str) -> bool:
    cheap = await scene.provider(CHEAP)
    return cheap.get("reason") == reason and why in cheap.get("why", "")
