"""Nodes whose GPUs' driver gave them up are not lent, and no metric calls home what is lent already."""

from pathlib import Path

import pytest

from faults.scenario import NODES
from meltguard.localcluster.plane import Plane
from support.overload import Overload, an_overload, until

pytestmark = pytest.mark.plane

FALLEN_OFF, APPLICATION = 79, 31


async def test_the_sound_node_is_lent_and_stays_whatever_a_metric_says_then(lone_plane: Plane, tmp_path: Path) -> None:
    async with an_overload(lone_plane, tmp_path) as overload:
        nodes = await overload.ground.admin.items(NODES)
        names = sorted(node["metadata"]["name"] for node in nodes if node["metadata"]["name"].startswith("research"))
        first, second, third = names
        overload.source.xids = dict.fromkeys(names, FALLEN_OFF)
        await overload.apply()
        await until(lambda: refused(overload, "has a sick GPU (Xid 79"), 60.0)
        assert await overload.claims() == []

        overload.source.xids = {first: FALLEN_OFF, second: APPLICATION}
        await until(lambda: serves(overload), 90.0)
        lent = await overload.claims()
        assert lent in ([second], [third])
        overload.source.xids = dict.fromkeys(names, FALLEN_OFF)
        await overload.decided_again(2)
        assert await overload.claims() == lent
        await until(lambda: serves(overload), 30.0)
        await overload.end()


async def refused(overload: Overload, why: str) -> bool:
    return why in (await overload.condition("BorrowingBlocked")).get("message", "")


async def serves(overload: Overload) -> bool:
    """Three pods answer, one of them on a node that is lent."""
    decision = (await overload.status()).get("decision", {})
    return bool(await overload.claims()) and decision.get("answeringPods") == 3
