"""A calendar brings nodes before anybody needs them, keeps them in the calm, and lets them go with its hours."""

from pathlib import Path
from typing import Any, Final

import pytest

from faults import world
from faults.ground import Ground, Operators, ground
from faults.rest import path_of
from faults.scenario import CALM
from faults.setting import Setting
from meltguard.localcluster.plane import Plane
from support.overload import until

pytestmark = pytest.mark.plane

SHAPE: Final = world.Shape(floor=1, max_loans=3)
NODES: Final = ("research-1", "research-2", "research-3")
ALWAYS: Final = {"schedule": "* * * * *", "duration": "1h", "timeZone": "Europe/Zurich", "minLoans": 3}
NEVER: Final = {"schedule": "0 8 31 2 *", "duration": "1h", "minLoans": 3}  # the API server cannot tell
LATER: Final = {"schedule": "0 8 29 2 *", "duration": "1h", "minLoans": 3}


def a_policy(*calendar: dict[str, Any]) -> dict[str, Any]:
    policy = world.a_policy(SHAPE)
    policy["spec"]["capacity"]["calendar"] = list(calendar)
    return policy


async def status(found: Ground) -> dict[str, Any]:
    return await found.admin.status(path_of(a_policy()))


async def condition(found: Ground, kind: str) -> dict[str, Any]:
    conditions: list[dict[str, Any]] = (await status(found))["conditions"]
    return next(one for one in conditions if one["type"] == kind)


async def is_told(found: Ground, what: str) -> bool:
    return what in (await status(found))["decision"]["nextChange"]


async def lent(found: Ground) -> int:
    steps = [claim["step"] for claim in (await Setting(found).claims()).values()]
    return len(steps) if all(step == "Lent" for step in steps) else -1


async def test_planned_nodes_come_in_the_calm_as_far_as_the_floor_allows_and_go_with_their_hours(
    lone_plane: Plane, tmp_path: Path
) -> None:
    async with ground(lone_plane, Operators(directory=tmp_path)) as found:
        for made in (*(world.a_node(name, "research") for name in NODES), *world.pools(SHAPE)):
            await found.admin.apply(made)
        await until(lambda: Setting(found).is_set(NODES), 60.0)
        found.operator.open()
        await found.operator.up()
        found.agents.ask(CALM)
        await found.admin.apply(a_policy(ALWAYS))
        await until(lambda: keeps_two(found), 90.0)
        for _ in range(2):  # ten seconds each: longer than the calm after which a loan goes home
            await decided_again(found)
        assert await lent(found) == 2
        said = await status(found)
        assert said["level"] == "Normal"
        assert "the calendar asks for 3 loans" in said["why"]
        rules = {one["rule"]: one for one in said["decision"]["rules"]}
        assert rules["calendar asks"]["holds"]
        assert not rules["lender keeps its floor"]["holds"]

        await found.admin.apply(a_policy(NEVER))
        await until(lambda: all_home(found), 90.0)
        stalled = await condition(found, "Stalled")
        assert (stalled["status"], stalled["reason"]) == ("True", "CalendarInvalid")
        assert "'0 8 31 2 *'" in stalled["message"]

        await found.admin.apply(a_policy(LATER))
        await until(lambda: is_told(found, "the calendar asks for 3 loans from 2028-02-29 08:00 UTC on"), 30.0)
        assert (await condition(found, "Stalled"))["status"] == "False"
        assert await lent(found) == 0
        await found.admin.delete(path_of(a_policy()))


async def decided_again(found: Ground) -> None:
    at = (await status(found))["decision"]["at"]

    async def later() -> bool:
        return bool((await status(found))["decision"]["at"] > at)

    await until(later, 30.0)


async def keeps_two(found: Ground) -> bool:
    """All four pods answer, and the third node stays the lender's."""
    decision = (await status(found)).get("decision", {})
    return await lent(found) == 2 and decision.get("answeringPods") == 4


async def all_home(found: Ground) -> bool:
    return await lent(found) == 0
