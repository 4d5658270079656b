"""What `meltguard return` says of what it cannot bring home."""

from typing import Any

from meltguard.api.to_core import read_pool
from meltguard.controller.give_back import stays_bought
from support.objects import a_pool_object

COUNTS: dict[str, Any] = {
    "onOrder": 1,
    "here": 2,
    "available": 0,
    "spentToday": "0",
    "spentThisMonth": "0",
    "failures": 0,
    "ordered": 3,
    "arrived": 2,
    "failed": 0,
}


def told(**counts: int) -> str:
    body = a_pool_object("burst")
    body["metadata"]["uid"] = "burst-uid"
    return stays_bought(read_pool({**body, "status": {"provider": {**COUNTS, **counts}}}))


def test_bought_nodes_that_nobody_gives_back_are_named_with_what_to_do() -> None:
    said = told()
    assert said.startswith("pool burst: 3 bought nodes stay and cost on")
    assert "scale MachineDeployment burst -n machines down by 3" in said


def test_nothing_bought_is_nothing_to_say() -> None:
    assert told(onOrder=0, here=0) == ""
    body = a_pool_object("research")
    body["metadata"]["uid"] = "uid"
    assert stays_bought(read_pool(body)) == ""
