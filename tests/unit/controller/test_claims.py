"""The claims of one pass share one reading of all nodes, and no bound is left to an old one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from meltguard.controller.claimer import READ_LATELY, Claims
from meltguard.core.fleet import NodeView
from meltguard.errors import Unavailable
from support.core_values import a_node
from support.fakes import FakeClock, FakeFleet
from support.mover_ground import Ground


@dataclass
class CountingFleet(FakeFleet):
    """Counts how often all nodes are read."""

    readings: int = field(default=0)

    async def members(self, labels: Mapping[str, str]) -> tuple[NodeView, ...]:
        """The truth, counted."""
        self.readings += 1
        return await super().members(labels)


@pytest.fixture
def fleet() -> CountingFleet:
    made = CountingFleet()
    made.put(a_node("one"), a_node("two"))
    return made


async def test_claims_of_one_pass_share_a_reading(fleet: CountingFleet) -> None:
    claims, clock = Claims(), FakeClock()
    for _ in range(3):
        assert [node.name for node in await claims.every_node(fleet, clock)] == ["one", "two"]
    assert fleet.readings == 1


async def test_what_was_claimed_since_shows_in_it(fleet: CountingFleet) -> None:
    claims, clock = Claims(), FakeClock()
    await claims.every_node(fleet, clock)
    claims.taken.append(a_node("two", sick="was claimed"))
    assert [node.sick for node in await claims.every_node(fleet, clock)] == ["", "was claimed"]


async def test_an_old_reading_is_made_anew(fleet: CountingFleet) -> None:
    claims, clock = Claims(), FakeClock()
    await claims.every_node(fleet, clock)
    clock.advance(READ_LATELY + 0.1)
    await claims.every_node(fleet, clock)
    assert fleet.readings == 2


async def test_after_a_doubt_it_is_read_anew(fleet: CountingFleet) -> None:
    claims, clock = Claims(), FakeClock()
    await claims.every_node(fleet, clock)
    claims.doubt()
    await claims.every_node(fleet, clock)
    assert fleet.readings == 2


async def test_a_reading_that_failed_is_none(fleet: CountingFleet) -> None:
    claims, clock = Claims(), FakeClock()
    fleet.away = True
    with pytest.raises(Unavailable):
        await claims.every_node(fleet, clock)
    fleet.away = False
    assert len(await claims.every_node(fleet, clock)) == 2


async def test_each_pass_of_the_mover_reads_anew(fleet: CountingFleet) -> None:
    ground = Ground(fleet=fleet)
    for name in ("one", "two"):
        ground.want(name)
        await ground.mover.run_once()
    assert fleet.readings == 2
