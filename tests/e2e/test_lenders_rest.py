"""A lender that wanted its nodes back is left alone, longer each time; another one lends meanwhile."""

from pathlib import Path
from typing import Final

import pytest

from faults.scenario import OVERLOAD
from meltguard.core.rest import SHORTEST_REST
from meltguard.localcluster.plane import Plane
from support.lenders import WITHIN, Lenders, two_lenders
from support.overload import until

pytestmark = pytest.mark.plane

THREE_MISSING: Final = 37.0
"""Image units a second: three nodes more than the service's own."""


async def test_a_lender_that_recalls_is_left_alone_longer_each_time(lone_plane: Plane, tmp_path: Path) -> None:
    """The other one lends meanwhile what it has."""
    async with two_lenders(lone_plane, tmp_path) as lenders:
        lenders.found.agents.ask(OVERLOAD)
        await lenders.wait_for(research=1)
        first = await lenders.recall("research")
        await lenders.wait_for(lab=1)
        await lenders.allow(3)
        lenders.found.agents.ask(THREE_MISSING)
        await lenders.wait_for(lab=2, research=1)
        second = await lenders.recall("research")
        await lenders.wait_for(lab=2)
        await until(lambda: says_why(lenders), WITHIN)
        await lenders.wait_for(lab=2, research=1)

        loans = lenders.loans()
        asked = [loan.claimed_at for loan in loans if loan.home == "research"]
        assert len(asked) == 3
        assert asked[1] - first >= SHORTEST_REST
        assert asked[2] - second >= 2 * SHORTEST_REST
        other = [loan.claimed_at for loan in loans if loan.home == "lab"]
        assert first < other[0] < asked[1], "nobody else was asked while one lender rested"


async def says_why(lenders: Lenders) -> bool:
    """Whether the status tells that a lender rests, and for how long still."""
    rules = (await lenders.status()).get("decision", {}).get("rules", [])
    return any("pool research called a node back; it is asked again in" in str(rule["text"]) for rule in rules)
