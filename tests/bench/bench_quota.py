"""Quotas and limits under fire: a million requests, a Valkey killed, flushed and restarted, agents that are killed.

First five agents in one process, as quick as they go; then five processes over HTTP. A tier's limit changes meanwhile.
Run as `python tests/bench/bench_quota.py`. Writes build/bench/quota.json; exit code 1 where a goal is missed.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.progress import Progress

from bench.quota_campaign import Campaign, Fault, Plan, Sums
from bench.quota_processes import Course, Processes
from bench.quota_rows import FAULTS, process_rows, rows
from meltguard.agent.quota_store import AccountKey, Ending, Settlement, SpanClaim
from meltguard.agent.quota_valkey import ValkeyQuotaStore
from meltguard.agent.settings import StoreAddress
from meltguard.clock import SystemClock
from meltguard.core.quota import Claim, Span
from meltguard.core.units import Instant, Seconds
from meltguard.demo.report import write
from support.valkey import ValkeyServer, valkey_server

REPORT: Final = Path("build/bench/quota.json")
PROCESS_FAULTS: Final = (Fault.KILL, Fault.FLUSH, Fault.RESTART)
KILL_EVERY: Final = 6.0
SHOWN_EVERY: Final = 0.5


async def watched(campaign: Campaign, total: int) -> Sums:
    """Run, and show how far it is."""
    lines = 0
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("requests", total=total)
        running = asyncio.create_task(campaign.run())
        while not (await asyncio.wait((running,), timeout=SHOWN_EVERY))[0]:
            faults, over = sum(campaign.sums.faults.values()), campaign.sums.over
            progress.update(task, completed=campaign.sums.asked, description=f"{faults} faults, {over} over")
            if not progress.console.is_terminal and (lines := lines + 1) % 20 == 0:
                progress.console.print(f"{campaign.sums.asked:,} requests, {faults} faults, {over} images over")
    return await running


async def measure_memory(server: ValkeyServer, users: int) -> float:
    """Bytes that one more user takes, three images delivered."""
    store, client = ValkeyQuotaStore(StoreAddress(url=server.url), Seconds(10.0)), server.client()
    before = client.info("memory")["used_memory"]
    now = SystemClock().now()
    span = Span(start=Instant(now - 1000.0), end=Instant(now + 86_400.0))

    async def fill(number: int) -> None:
        account = AccountKey(policy="serving/image-gen", tier="free", user=f"{number:032x}")
        for _ in range(3):
            request = uuid.uuid4().hex
            claim = Claim(request=request, images=1, limit=3, hold_for=Seconds(60.0))
            answer = await store.reserve(
                SpanClaim(account=account, claim=claim, span=span, new_id=uuid.uuid4().hex, seen=None)
            )
            assert answer.span is not None, answer
            settlement = Settlement(
                account=account, span=answer.span.id, request=request, images=1, ending=Ending.COMMIT
            )
            await store.settle([settlement])

    with Progress(console=Console(stderr=True)) as progress:
        for first in progress.track(range(0, users, 100), description="memory"):
            await asyncio.gather(*(fill(number) for number in range(first, min(first + 100, users))))
    await store.close()
    return float(client.info("memory")["used_memory"] - before) / users


def main() -> int:
    """0: all goals are met; 1: not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=4_000)
    parser.add_argument("--process-seconds", type=float, default=110.0, help="of the part over HTTP")
    parser.add_argument("--users-measured", type=int, default=30_000)
    chosen = parser.parse_args()
    console, clock = Console(), SystemClock()
    logging.getLogger("meltguard").setLevel(logging.CRITICAL)  # of a store that goes away all the time
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with valkey_server(folder / "memory", appendonly="no") as server:
            bytes_a_user = asyncio.run(measure_memory(server, chosen.users_measured))
        started = clock.elapsed()
        with valkey_server(folder / "campaign") as server:
            plan = Plan(requests=chosen.requests, users=chosen.users, faults=FAULTS)
            sums = asyncio.run(watched(Campaign(plan, server, folder), chosen.requests))
        found = rows(sums, bytes_a_user, Seconds(clock.elapsed() - started))
        with valkey_server(folder / "processes") as server:
            console.print(f"five agents as processes, {chosen.process_seconds:g} s ...")
            kills = int(chosen.process_seconds / KILL_EVERY)
            course = Course(seconds=chosen.process_seconds, faults=PROCESS_FAULTS, kills=kills)
            found += process_rows(asyncio.run(Processes(course, server, folder).run()), course)
    write(REPORT, [row.as_json() for row in found])
    for row in found:
        console.print(f"{'ok  ' if row.met else 'MISS'} {row.name}: {row.value} {row.unit} (goal {row.goal})")
    return 0 if all(row.met for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
