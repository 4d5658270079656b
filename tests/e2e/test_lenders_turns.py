"""Several lenders take turns: who lent least for its size is next."""

from pathlib import Path
from typing import Final

import pytest

from faults.scenario import OVERLOAD
from meltguard.localcluster.plane import Plane
from support.lenders import NODES, burden, two_lenders

pytestmark = pytest.mark.plane

SURGES: Final = 4
"""Were they alike, each would come every other time."""


async def test_lenders_take_turns_by_what_they_lent_for_their_size(lone_plane: Plane, tmp_path: Path) -> None:
    """One is half as large as the other, so turns alone would burden each of its nodes twice as much."""
    async with two_lenders(lone_plane, tmp_path) as lenders:
        homes = [await lenders.surge(OVERLOAD) for _ in range(SURGES)]
        loans = lenders.loans()
        assert [loan.home for loan in loans] == homes
        assert set(homes) == set(NODES)
        for loan in loans[1:]:
            borne = {home: burden(loans, home, loan.claimed_at) for home in NODES}
            assert borne[loan.home] == min(borne.values()), f"{loan} came though hours lent a node were {borne}"
