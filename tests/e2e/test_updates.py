"""Updates in the middle of a surge: a dearer image is taken back, an equal one waits, a cheaper one goes on.

Image times stray as requests do, so that a verdict has bounds of some width.
"""

from pathlib import Path

import pytest

from meltguard.localcluster.plane import Plane
from support.overload import an_overload, until
from support.updating import OLD, STRAYS, Scene

pytestmark = pytest.mark.plane

DEAR, EVEN, CHEAP = "image-gen:dear", "image-gen:even", "image-gen:cheap"
SPEEDS = {DEAR: 1 / 1.2, EVEN: 1.0, CHEAP: 1 / 0.8}
MORE_THAN_ANY = 40.0
"""Image units a second: more than three pods of any image do, so that the free tier is limited throughout."""


class _Limits:
    """What the service can do, and what its users may have."""

    def __init__(self, scene: Scene) -> None:
        self._overload = scene.overload
        self.before = (0.0, 0.0, 0.0)

    async def now(self) -> tuple[float, float, float]:
        """Capacity, the free tier's limit, and what its pods were told of it, in images a minute."""
        text = (await self._overload.status()).get("decision", {}).get("capacity", "0/m")
        published = self._overload.ground.agents.published("free") or 0.0
        return float(text.removesuffix("/m")), await self._overload.limit() or 0.0, 60.0 * published

    async def are_known(self) -> bool:
        self.before = await self.now()
        return min(self.before) > 0.0

    async def have_risen(self) -> bool:
        now = await self.now()
        return all(after > 1.1 * before for after, before in zip(now, self.before, strict=True))


async def _bounds(scene: Scene) -> tuple[float, float, float]:
    cost = (await scene.figures())["cost"]
    assert cost["samples"] >= 12
    least, mean, most = (float(cost[key].removesuffix("%")) for key in ("least", "mean", "most"))
    assert least < mean < most, "times that stray leave bounds of some width"
    return least, mean, most


async def _is_taken_back(scene: Scene) -> None:
    await scene.update(DEAR)
    await until(lambda: scene.has_settled("Refused", {OLD: 3}), 180.0)
    assert "taken back" in (await scene.overload.status())["rollouts"]["cause"]
    least, _, _ = await _bounds(scene)
    assert least >= 5.0
    assert scene.most[DEAR] == 1, "more than one pod was risked"


async def _waits(scene: Scene) -> None:
    await scene.update(EVEN)
    await until(lambda: scene.has_settled("Equal", {OLD: 2, EVEN: 1}), 300.0)
    least, _, most = await _bounds(scene)
    assert -5.0 <= least <= most <= 5.0


async def _goes_on(scene: Scene) -> None:
    await scene.update(CHEAP)
    await until(lambda: scene.has_settled("Promoted", {CHEAP: 3}), 180.0)
    _, _, most = await _bounds(scene)
    assert most <= -5.0
    new, old = await scene.rates()
    assert new == pytest.approx(1.25, rel=0.1)
    assert old == pytest.approx(1.0, rel=0.1)


async def test_what_an_update_costs_decides_whether_it_waits(lone_plane: Plane, tmp_path: Path) -> None:
    async with an_overload(lone_plane, tmp_path) as overload:
        scene, agents = Scene(overload), overload.ground.agents
        agents.speeds, agents.strays = SPEEDS, STRAYS
        found = (await scene.deployment())["spec"]
        await overload.apply(rollouts={"holdAt": "Elevated"})
        await until(lambda: scene.is_held(3), 90.0)  # one of them on a borrowed node
        agents.ask(MORE_THAN_ANY)
        await _is_taken_back(scene)
        await _waits(scene)
        limits = _Limits(scene)
        await until(limits.are_known, 30.0)
        await _goes_on(scene)
        await until(limits.have_risen, 60.0)
        await scene.calm_down(found)
        assert "trial" not in (await overload.status())["rollouts"], "nothing is left of what is over"
        told = await scene.told()
        assert "taken back until then: +" in told
        assert "goes on to all pods: -" in told
        await overload.end()
