"""Old and new cards in one service: what a GPU of each completes is learned for itself, and nodes are taken by it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from faults import world
from faults.ground import Ground, Operators, ground
from faults.rest import path_of
from faults.setting import Setting
from meltguard.localcluster.plane import Plane
from support.overload import until

pytestmark = pytest.mark.plane

CARDS: Final[Mapping[str, float]] = {"A100": 1.0, "H100": 2.0}
"""Image units a second that one GPU of each completes."""

OWN: Final = {"inference-1": "A100", "inference-2": "H100"}
LENDERS: Final = {"research-a-1": "A100", "research-a-2": "A100", "research-a-3": "A100", "research-h-1": "H100"}
"""By their names the slow ones come first."""

SHAPE: Final = world.Shape(floor=0, max_loans=4)
LEARNS: Final = 16.0
"""Image units a second: below what the service's own nodes do, so that nothing is missing while it learns."""

SHORT: Final = 34.0
"""Beyond the 24 that they do by 8 GPUs such as serve, of 1.5 units each: one new node of 16, or two old ones of 8."""

SHORTER: Final = 50.0
"""Beyond the 40 that three nodes do by 7 GPUs of 1.67 units: two old nodes; were all cards alike, one."""

NEAR: Final = 0.04


def a_policy(loans: int) -> dict[str, Any]:
    made = world.a_policy(SHAPE)
    made["spec"]["capacity"]["maxLoans"] = loans
    return made


def a_card(node: str, pool: str, card: str) -> dict[str, Any]:
    made = world.a_node(node, pool)
    made["metadata"]["labels"]["nvidia.com/gpu.product"] = card
    return made


class _Scene:
    """The service, its users, and what it is lent."""

    def __init__(self, found: Ground) -> None:
        self.found = found

    async def decision(self) -> dict[str, Any]:
        decision: dict[str, Any] = (await self.found.admin.status(path_of(a_policy(0)))).get("decision") or {}
        return decision

    async def does(self, units: float) -> None:
        """Return once the operator has learned that the service does so many units a second."""

        async def learned() -> bool:
            said = float((await self.decision()).get("capacity", "0/m").removesuffix("/m"))
            return abs(said / 60.0 - units) <= NEAR * units

        await until(learned, 60.0)

    async def misses(self, gpus: int) -> None:
        """Return once so many are missing, in the operator's eyes."""

        async def missing() -> bool:
            rules = (await self.decision()).get("rules", [])
            return any(f"{gpus} more GPUs" in rule["text"] for rule in rules if rule["rule"] == "GPUs are missing")

        await until(missing, 60.0)

    async def allow(self, loans: int) -> None:
        await self.found.admin.merge(path_of(a_policy(0)), {"spec": {"capacity": {"maxLoans": loans}}})

    async def lends(self, *names: str) -> None:
        """Return once these nodes serve, and no other is on its way."""
        await until(lambda: Setting(self.found).lends(*names), 60.0)


@asynccontextmanager
async def mixed_cards(plane: Plane, directory: Path) -> AsyncIterator[_Scene]:
    """Two nodes that serve, four that could, and an operator that has learned what the two do."""
    async with ground(plane, Operators(directory=directory)) as found:
        for pool, nodes in (("inference", OWN), ("research", LENDERS)):
            for name, card in nodes.items():
                await found.admin.apply(a_card(name, pool, card))
        for made in world.pools(SHAPE):
            await found.admin.apply(made)
        found.agents.fit({name: CARDS[card] for name, card in {**OWN, **LENDERS}.items()})
        await until(lambda: Setting(found).is_set([*OWN, *LENDERS]), 60.0)
        found.operator.open()
        await found.operator.up()
        found.agents.ask(LEARNS)
        await found.admin.apply(a_policy(0))
        scene = _Scene(found)
        await scene.does(24.0)
        yield scene


async def test_nodes_are_taken_by_what_their_own_model_was_learned_to_do(lone_plane: Plane, tmp_path: Path) -> None:
    async with mixed_cards(lone_plane, tmp_path) as scene:
        scene.found.agents.ask(SHORT)
        await scene.misses(8)
        await scene.allow(1)
        await scene.lends("research-h-1")
        await scene.does(40.0)
        await scene.found.operator.kill()
        await scene.found.operator.up()  # what was learned outlives it
        scene.found.agents.ask(SHORTER)
        await scene.misses(7)
        await scene.allow(4)
        await scene.lends("research-h-1", "research-a-1", "research-a-2")
        claims = await Setting(scene.found).claims()
        assert claims["research-a-1"]["cause"] == claims["research-a-2"]["cause"], "one plan took both"
        await scene.does(56.0)
