"""A slice of `make bench-quota`: agents, one Valkey and its faults, limits that change, and agents that are killed."""

from pathlib import Path

from bench.quota_campaign import Campaign, Fault, Plan
from bench.quota_processes import Course, Processes
from bench.windows import BEARABLE
from meltguard.agent.refusal import Reason
from support.valkey import valkey_server

FAULTS = (Fault.FLUSH, Fault.KILL, Fault.RESTART, Fault.KILL)


async def test_no_user_and_no_tier_gets_more_than_it_may_whatever_befalls_the_store(tmp_path: Path) -> None:
    with valkey_server(tmp_path / "valkey") as server:
        plan = Plan(requests=6_000, users=500, faults=FAULTS, agents=3, limits=3)
        sums = await Campaign(plan, server, tmp_path).run()
    assert sums.faults == {Fault.KILL: 2, Fault.RESTART: 1, Fault.FLUSH: 1}
    assert (sums.users_over, sums.over, sums.granted_after_flush) == (0, 0, 0)
    assert sums.in_flight_at_flush > 0
    assert sums.users_full > 0
    assert sums.known > 0
    assert sums.refused[Reason.QUOTA_STORE] > 0
    assert sums.limited.share <= BEARABLE
    assert sums.limited.held_back > 0
    assert sums.pushes > 1


async def test_agents_that_are_killed_between_grant_and_settlement_give_nothing_twice(tmp_path: Path) -> None:
    with valkey_server(tmp_path / "valkey") as server:
        course = Course(seconds=6.0, faults=(Fault.KILL,), kills=2, limits=2, agents=2, users=60)
        shown = await Processes(course, server, tmp_path).run()
    assert shown.over <= shown.in_flight_at_flush == 0
    assert shown.kills == 2
    assert shown.made_at_kills > 0
    assert shown.limited.share <= BEARABLE
    assert shown.limited.held_back > 0
    assert sum(shown.had.values()) > 60
