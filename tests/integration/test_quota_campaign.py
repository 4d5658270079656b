"""A slice of `make bench-quota`: agents, one Valkey, and its faults."""

from pathlib import Path

from bench.quota_campaign import Campaign, Fault, Plan
from meltguard.agent.refusal import Reason
from support.valkey import valkey_server

FAULTS = (Fault.FLUSH, Fault.KILL, Fault.RESTART, Fault.KILL)


async def test_no_user_gets_more_than_the_quota_whatever_befalls_the_store(tmp_path: Path) -> None:
    with valkey_server(tmp_path / "valkey") as server:
        plan = Plan(requests=6_000, users=500, faults=FAULTS, agents=3)
        sums = await Campaign(plan, server, tmp_path).run()
    assert sums.faults == {Fault.KILL: 2, Fault.RESTART: 1, Fault.FLUSH: 1}
    assert (sums.users_over, sums.over, sums.granted_after_flush) == (0, 0, 0)
    assert sums.in_flight_at_flush > 0
    assert sums.users_full > 100
    assert sums.known > 100
    assert sums.refused[Reason.QUOTA_STORE] > 0
