"""A slice of the campaign: one round trip of a busy node, its operator killed three times on the way."""

from pathlib import Path

import pytest

from faults.drain_cases import BUSY
from faults.ground import Operators, ground
from faults.rules import Kill, Match, Moment, Rule
from faults.running import Runner
from faults.scenario import CONVERGES, LENDS, Case
from meltguard.localcluster.plane import Plane
from support.eventually import PATIENCE

pytestmark = pytest.mark.plane

KILLED = (("Claimed", Moment.AFTER), ("Evict", Moment.BEFORE), ("Restored", Moment.AFTER))


async def test_a_round_trip_survives_three_kills(lone_plane: Plane, tmp_path: Path) -> None:
    rules = tuple(Rule(match=Match(label=label), act=Kill(moment)) for label, moment in KILLED)
    case = Case(
        name="slice",
        shape=BUSY,
        rules=lambda _: rules,
        lends_within=PATIENCE * LENDS,
        converges=PATIENCE * CONVERGES,
    )
    async with ground(lone_plane, Operators(directory=tmp_path)) as found:
        found.operator.open()
        await found.operator.up()
        outcome = await Runner(found).run(case)
    labels = [write.label for write in outcome.writes]
    assert [str(finding) for finding in outcome.findings] == []
    assert (outcome.strikes, outcome.restarts) == (3, 3)
    assert {"Notice", "Evict", "Relabelled", "Lent", "Restored", "Released"} <= set(labels)
