"""What hostile clients do to an agent and to those who use it honestly: nothing takes effect, and p99 stays.

Then a retry storm: a tier is suspended, opens again, and everybody comes back.
Run as `python tests/bench/bench_abuse.py`. Writes build/bench/abuse.json; exit code 1 where a goal is missed, 3 where
the storm proves nothing, since the machine did other work.
The agent has a core of its own. Hostile clients would compute elsewhere: they yield to the honest ones on the other.
"""

import argparse
import asyncio
import json
import multiprocessing
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml
from aiohttp import web
from rich.console import Console
from rich.table import Table

from bench import abuse_attacks
from bench.abuse_attacks import LARGE_BODIES, SLOW_CLIENTS, Deeds, Victim
from bench.abuse_honest import EPOCH, REVISION, growth, honest, push, pushes, report, token_outcomes
from bench.abuse_storm import CLIENTS, storm_rows, stormed
from bench.cores import subjects_core, take_the_loads_core
from bench.image_server import serving
from bench.judging import least, none, told
from meltguard.agent.journal import JournalEntry
from meltguard.clock import SystemClock
from meltguard.demo.report import Row, Verdict, write
from support.agent_process import AgentProcess, alive
from support.issuer import a_key, a_token, bad_tokens, key_set, rules

REPORT: Final = Path("build/bench/abuse.json")
SLOWER: Final = 2.0
"""Honest p99 under attack may be this many times what it is without."""

MOST_GROWTH: Final = 32.0
"""Mebibytes that an attack may add to the agent's memory."""

PUSH_WITHIN: Final = 1.0
"""Seconds in which 99 % of honest pushes are obeyed under attack, each on a connection of its own."""

IMAGE_SECONDS: Final = 0.05
GPUS: Final = 16
HONEST: Final = "hal"
TOLD_APART: Final = 8


@dataclass(slots=True)
class Upstream:
    """The image server; it knows what reached it."""

    paths: Counter[str] = field(default_factory=Counter)
    claims: Counter[str] = field(default_factory=Counter)  # what reached it in the agent's name and is not the agent's

    async def answer(self, request: web.Request) -> web.Response:
        """An image in its time."""
        self.paths[request.path] += 1
        said = {name.lower().replace("_", "-"): value.strip() for name, value in request.headers.items()}
        ours = {name: value for name, value in said.items() if name.startswith("x-meltguard-")}
        if ours != {"x-meltguard-tier": "free", "x-meltguard-user": HONEST} or "authorization" in said:
            self.claims[str(sorted(ours.items()))] += 1
        await asyncio.sleep(IMAGE_SECONDS)
        return web.Response(body=b"image")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that a run showed."""

    calm: list[float]  # seconds of each honest request, without attackers
    attacked: list[float]
    failed: Counter[str]  # what honest requests got that got no image
    deeds: Deeds
    upstream: Upstream
    journal: list[JournalEntry]
    holds: dict[str, Any]  # the agent's report afterwards
    tokens: dict[str, int]  # by what became of them
    obeys: int  # status of an honest push afterwards
    pushes: list[float]  # seconds of each honest push under attack
    pushes_failed: Counter[str]
    grew: float  # mebibytes at most that the agent's memory grew by under attack


@asynccontextmanager
async def an_agent(upstream: int, folder: Path) -> AsyncIterator[tuple[Victim, AgentProcess]]:
    """A process that trusts no gateway: nobody's word about himself counts, only the issuer's."""
    key = a_key("k1")
    token = a_token(key, tier="basic", sub=HONEST, exp=int(SystemClock().now()) + 3_600)
    (folder / "keys.json").write_bytes(key_set(key))
    believed = rules(str(folder / "keys.json"), required=True).model_dump(
        mode="json", by_alias=True, exclude_unset=True
    )
    (folder / "tokens.yaml").write_text(yaml.safe_dump(believed))
    flags = {
        "upstream": f"http://127.0.0.1:{upstream}",
        "gpus": str(GPUS),
        "default-tier": "free",
        "tokens": str(folder / "tokens.yaml"),
    }
    agent = AgentProcess(folder=folder, flags=flags, words=(), prefix=subjects_core())
    victim = Victim(data=agent.data, control=agent.control, token=token, bad_tokens=bad_tokens(key))
    async with alive(agent):
        yield victim, agent
        await agent.stop()  # it writes its journal's last lines


async def measured(seconds: float, folder: Path, console: Console) -> Seen:
    """Calm, then attacked, for so long each."""
    upstream = Upstream()
    loop = asyncio.get_running_loop()
    attackers = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    async with serving(upstream.answer) as port, an_agent(port, folder) as (victim, agent):
        await push(victim, REVISION)
        console.print(f"[bench-abuse] honest clients alone, {seconds:.0f} s")
        calm, failed_before = await honest(victim, seconds)
        console.print(f"[bench-abuse] and beside {3 * SLOW_CLIENTS + LARGE_BODIES} slow and all quick hostile ones")
        attack = loop.run_in_executor(attackers, abuse_attacks.run, victim, seconds + 2.0, 0.2)
        grown = asyncio.create_task(growth(agent.pid, seconds + 1.0))
        await asyncio.sleep(1.0)  # they have begun
        (attacked, failed), (pushed, pushes_failed) = await asyncio.gather(
            honest(victim, seconds), pushes(victim, seconds)
        )
        deeds = await attack
        holds, tokens = await report(victim), await token_outcomes(victim)
        obeys = await push(victim, REVISION + 1)
    attackers.shutdown()
    lines = agent.journal.read_text().splitlines()
    return Seen(
        calm=calm,
        attacked=attacked,
        failed=failed_before + failed,
        deeds=deeds,
        upstream=upstream,
        journal=[JournalEntry.parse(line) for line in lines],
        holds=holds,
        tokens=tokens,
        obeys=obeys,
        pushes=pushed,
        pushes_failed=pushes_failed,
        grew=await grown,
    )


def p99(times: Sequence[float]) -> float:
    """The value that 99 % do not exceed."""
    return sorted(times)[max(0, int(0.99 * len(times)) - 1)]


def rows(seen: Seen) -> list[Row]:
    """Against their goals."""
    calm, attacked = p99(seen.calm) * 1e3, p99(seen.attacked) * 1e3
    admitted = sum(entry.verdict == "admitted" for entry in seen.journal)
    bypassed = max(0, sum(seen.upstream.paths.values()) - admitted)  # an admitted client may leave before
    tiers = sum(entry.tier != "free" for entry in seen.journal)
    held = (seen.holds.get("epoch"), seen.holds.get("revision")) == (EPOCH, REVISION)
    apart = sum(count > 0 for outcome, count in seen.tokens.items() if outcome not in {"verified", "none"})
    tried = sum(seen.deeds.tried.values())
    return [
        told("honestP99Calm", round(calm, 1), "ms"),
        Row(
            name="honestP99Attacked",
            value=round(attacked, 1),
            unit="ms",
            goal=f"<= {SLOWER:g} of calm",
            met=attacked <= SLOWER * calm,
        ),
        none("honestFailed", seen.failed.total(), "requests"),
        Row(name="hostileRequests", value=tried, unit="requests", goal="> 0", met=tried > 0),
        none("forgedDocumentsAndTokensTaken", seen.deeds.taken.total(), "requests"),
        none("requestsPastTheAgent", bypassed, "requests"),
        none("tiersClaimedByClients", tiers, "requests"),
        none("claimsPassedOn", seen.upstream.claims.total(), "requests"),
        _at_most("memoryGrowthMiB", seen.grew, "MiB", MOST_GROWTH),
        _at_most("pushP99", p99(seen.pushes) * 1e3, "ms", PUSH_WITHIN * 1e3),
        none("pushesFailed", seen.pushes_failed.total(), "pushes"),
        least("badTokensToldApart", apart, "kinds", TOLD_APART),
        Row(name="documentHeld", value=held, unit="", goal="true", met=held),
        Row(name="obeysAfterwards", value=seen.obeys == 200, unit="", goal="true", met=seen.obeys == 200),
    ]


def _at_most(name: str, value: float, unit: str, most: float) -> Row:
    return Row(name=name, value=round(value, 1), unit=unit, goal=f"<= {most:g}", met=value <= most)


def shown(found: Sequence[Row]) -> Table:
    """For people."""
    table = Table(title="an agent under attack, and in a retry storm", title_justify="left")
    for column in ("name", "value", "goal", ""):
        table.add_column(column)
    for row in found:
        table.add_row(row.name, f"{row.value} {row.unit}", row.goal, "met" if row.met else "[red]not met[/red]")
    return table


def main() -> int:
    """0: every goal is met; 1: not; 3: the storm proves nothing."""
    parser = argparse.ArgumentParser(prog="bench_abuse", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="calm, and attacked")
    parser.add_argument("--out", type=Path, default=REPORT, help="the report")
    options = parser.parse_args()
    console = Console()
    take_the_loads_core()
    with tempfile.TemporaryDirectory(prefix="meltguard-abuse-") as folder:
        seen = asyncio.run(measured(options.seconds, Path(folder), console))
        console.print(f"[bench-abuse] {CLIENTS} clients whose tier is suspended, and opens again; two minutes")
        (Path(folder) / "storm").mkdir()
        storm = asyncio.run(stormed(Path(folder) / "storm"))
    found = [*rows(seen), *storm_rows(storm)]
    write(options.out, [row.as_json() for row in found])
    console.print(shown(found))
    for counts in (seen.deeds.taken, seen.failed, seen.upstream.claims, seen.pushes_failed, storm.failed):
        if counts:
            console.print(json.dumps(counts), style="red")
    if not storm.proves:
        console.print(
            f"proves nothing: {storm.before:.1f} images/s before the storm, and the agent stood in line for its core "
            f"{storm.starved:.0%} of the time after it; run it on a quiet machine"
        )
        return Verdict.INCONCLUSIVE
    return Verdict.WHOLE_STORY if all(row.met for row in found) else Verdict.NOT_ALL


if __name__ == "__main__":
    sys.exit(main())
