"""What hostile clients do to an agent and to those who use it honestly: nothing takes effect, and p99 stays.

Then a retry storm: a tier is suspended, opens again, and everybody comes back.
Run as `python tests/bench/bench_abuse.py`. Writes build/bench/abuse.json; exit code 1 where a goal is missed, 3 where
the storm proves nothing, since the machine did other work.
The agent has a core of its own. Hostile clients would compute elsewhere: they yield to the honest ones on the other.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import re
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import aiohttp
import yaml
from aiohttp import web
from rich.console import Console
from rich.table import Table

from bench import abuse_attacks
from bench.abuse_attacks import Deeds, Victim
from bench.abuse_storm import CLIENTS, storm_rows, stormed
from bench.cores import subjects_core, take_the_loads_core
from bench.image_server import serving
from meltguard.agent.journal import JournalEntry
from meltguard.clock import SystemClock
from meltguard.demo.report import Row, Verdict, write
from support.agents import KEY, a_lease, signed
from support.issuer import a_key, a_token, bad_tokens, key_set, rules
from support.valkey import free_port

REPORT: Final = Path("build/bench/abuse.json")
SLOWER: Final = 2.0
"""Honest p99 under attack may be this many times what it is without."""

IMAGE_SECONDS: Final = 0.05
HONEST_EVERY: Final = 0.05
GPUS: Final = 16
EPOCH, REVISION = 5, 9
HONEST: Final = "hal"
TOLD_APART: Final = 8
START: Final = "from meltguard.cli.main import app; app()"


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


@asynccontextmanager
async def an_agent(upstream: int, folder: Path) -> AsyncIterator[Victim]:
    """A process that trusts no gateway: nobody's word about himself counts, only the issuer's."""
    key = a_key("k1")
    token = a_token(key, tier="basic", sub=HONEST, exp=int(SystemClock().now()) + 3_600)
    victim = Victim(data=free_port(), control=free_port(), token=token, bad_tokens=bad_tokens(key))
    (folder / "keys.json").write_bytes(key_set(key))
    believed = rules(str(folder / "keys.json"), required=True).model_dump(
        mode="json", by_alias=True, exclude_unset=True
    )
    (folder / "tokens.yaml").write_text(yaml.safe_dump(believed))
    flags = {
        "policy": "serving/image-gen",
        "upstream": f"http://127.0.0.1:{upstream}",
        "pod-uid": "pod-1",
        "keys": KEY.public_text(),
        "listen": f"127.0.0.1:{victim.data}",
        "control-listen": f"127.0.0.1:{victim.control}",
        "journal": str(folder / "journal.jsonl"),
        "gpus": str(GPUS),
        "default-tier": "free",
        "tokens": str(folder / "tokens.yaml"),
    }
    words = [part for name, value in flags.items() for part in (f"--{name}", value)]
    command = [*subjects_core(), sys.executable, "-c", START, "agent", *words]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20.0):
            await process.stdout.readline()
        yield victim
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def honest(victim: Victim, seconds: float) -> tuple[list[float], Counter[str]]:
    """One request every 50 ms whatever the others take; their times, and what those got that got no image."""
    took: list[float] = []
    failed: Counter[str] = Counter()
    known = {"Authorization": f"Bearer {victim.token}"}

    async def ask(session: aiohttp.ClientSession) -> None:
        began = time.perf_counter()
        try:
            async with session.post(f"http://127.0.0.1:{victim.data}/i", json={"n": 1}, headers=known) as answer:
                body = await answer.read()
                told = "" if body == b"image" else f"{answer.status} {body[:80]!r}"
        except (aiohttp.ClientError, TimeoutError) as exc:
            told = type(exc).__name__
        took.append(time.perf_counter() - began)
        if told:
            failed[told] += 1

    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20.0)) as session,
        asyncio.TaskGroup() as tasks,
    ):
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            tasks.create_task(ask(session))
            await asyncio.sleep(HONEST_EVERY)
    return took, failed


async def push(victim: Victim, revision: int) -> int:
    """An honest push; its status."""
    document = signed(a_lease(epoch=EPOCH, revision=revision))
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"http://127.0.0.1:{victim.control}/v1/limits", data=document) as answer,
    ):
        return answer.status


async def report(victim: Victim) -> dict[str, Any]:
    """What the agent says it enforces."""
    url = f"http://127.0.0.1:{victim.control}/v1/report"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        read: dict[str, Any] = await answer.json()
        return read


async def token_outcomes(victim: Victim) -> dict[str, int]:
    """What became of requests' tokens."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{victim.control}/metrics") as answer,
    ):
        text = await answer.text()
    found = re.findall(r'^meltguard_agent_tokens_total\{outcome="(.+)"\} (\S+)$', text, re.MULTILINE)
    return {outcome: int(float(count)) for outcome, count in found}


async def measured(seconds: float, folder: Path, console: Console) -> Seen:
    """Calm, then attacked, for so long each."""
    upstream = Upstream()
    loop = asyncio.get_running_loop()
    attackers = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    async with serving(upstream.answer) as port, an_agent(port, folder) as victim:
        await push(victim, REVISION)
        console.print(f"[bench-abuse] honest clients alone, {seconds:.0f} s")
        calm, failed_before = await honest(victim, seconds)
        console.print(f"[bench-abuse] and beside {3 * abuse_attacks.SLOW_CLIENTS} slow and all quick hostile ones")
        attack = loop.run_in_executor(attackers, abuse_attacks.run, victim, seconds + 2.0, 0.2)
        await asyncio.sleep(1.0)  # they have begun
        attacked, failed = await honest(victim, seconds)
        deeds = await attack
        holds, tokens = await report(victim), await token_outcomes(victim)
        obeys = await push(victim, REVISION + 1)
    attackers.shutdown()
    lines = (folder / "journal.jsonl").read_text().splitlines()
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
        Row(name="honestP99Calm", value=round(calm, 1), unit="ms", goal="shown, not judged", met=True),
        Row(
            name="honestP99Attacked",
            value=round(attacked, 1),
            unit="ms",
            goal=f"<= {SLOWER:g} of calm",
            met=attacked <= SLOWER * calm,
        ),
        _none("honestFailed", seen.failed.total(), "requests"),
        Row(name="hostileRequests", value=tried, unit="requests", goal="> 0", met=tried > 0),
        _none("forgedDocumentsAndTokensTaken", seen.deeds.taken.total(), "requests"),
        _none("requestsPastTheAgent", bypassed, "requests"),
        _none("tiersClaimedByClients", tiers, "requests"),
        _none("claimsPassedOn", seen.upstream.claims.total(), "requests"),
        Row(name="badTokensToldApart", value=apart, unit="kinds", goal=">= 8", met=apart >= TOLD_APART),
        Row(name="documentHeld", value=held, unit="", goal="true", met=held),
        Row(name="obeysAfterwards", value=seen.obeys == 200, unit="", goal="true", met=seen.obeys == 200),
    ]


def _none(name: str, value: int, unit: str) -> Row:
    return Row(name=name, value=value, unit=unit, goal="0", met=value == 0)


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
    for told in (seen.deeds.taken, seen.failed, seen.upstream.claims, storm.failed):
        if told:
            console.print(json.dumps(told), style="red")
    if not storm.proves:
        console.print(
            f"proves nothing: {storm.before:.1f} images/s before the storm, and the agent stood in line for its core "
            f"{storm.starved:.0%} of the time after it; run it on a quiet machine"
        )
        return Verdict.INCONCLUSIVE
    return Verdict.WHOLE_STORY if all(row.met for row in found) else Verdict.NOT_ALL


if __name__ == "__main__":
    sys.exit(main())
