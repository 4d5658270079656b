"""What a decision costs: ours against other limiters, in one run.

Run as `python tests/bench/bench_limiter.py`. In a process: `limits`, `throttled-py`, slowapi. On the wire: NGINX
`limit_req`, Envoy's local rate limit, envoyproxy/ratelimit with the same Valkey. Rounds are interleaved, CPU time is
the subject's own. Writes build/bench/limiter.json; exit code 1 where a goal is missed, 3 where the run proves nothing.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table

from bench.cores import take_the_loads_core
from bench.limiter_inprocess import Cost, decisions, interleaved, middlewares
from bench.limiter_load import Measured, Unproven, measured
from bench.limiter_subjects import subjects
from meltguard.demo.report import Row, Verdict, write
from meltguard.localcluster.progress import PlainProgress

REPORT: Final = Path("build/bench/limiter.json")
CONTROLS: Final = ("limits fixed window", "bare app", "starlette", "nginx", "envoy", "uvicorn")
RATE_GOAL: Final = 1_000_000.0  # decisions a second and core
ADDED_GOAL: Final = 2.6  # CPU microseconds a request, what NGINX limit_req adds on a quiet machine
STEADY: Final = 1.5
"""Where a subject without a limiter costs so many times its least in another round, the machine does other work."""

QUOTA_GOAL: Final = 1.0  # ms that a quota in Valkey adds at p99


def row(name: str, values: tuple[float, float | None], unit: str, goal: tuple[str, bool], peer: str) -> dict[str, Any]:
    """One line of the report; `values` are ours and the peer's."""
    ours, theirs = values
    one = Row(name=name, value=round(ours, 3), unit=unit, goal=goal[0], met=goal[1])
    ratio = round(ours / theirs, 3) if theirs else None
    return {**one.as_json(), "peer": peer, "peerValue": None if theirs is None else round(theirs, 3), "ratio": ratio}


def decision_rows(found: Mapping[str, Cost]) -> list[dict[str, Any]]:
    """Decisions a second and core."""
    ours = found["meltguard"].rate
    made = [row("decisionsPerCore", (ours, None), "1/s", (f">= {RATE_GOAL:,.0f}", ours >= RATE_GOAL), "")]
    for peer in (name for name in found if name.startswith(("limits", "throttled"))):
        theirs = found[peer].rate
        made.append(row("decisionsPerCore", (ours, theirs), "1/s", (f"ahead of {peer}", ours >= theirs), peer))
    return made


def middleware_rows(found: Mapping[str, Cost]) -> list[dict[str, Any]]:
    """CPU that a limiter in the process adds to a request."""
    ours = found["bare app + meltguard"].median - found["bare app"].median
    theirs = found["starlette + slowapi"].median - found["starlette"].median
    return [
        row("addedInProcess", (ours, None), "CPU us", (f"<= {ADDED_GOAL}", ours <= ADDED_GOAL), ""),
        row("addedInProcess", (ours, theirs), "CPU us", ("less than slowapi", ours < theirs), "slowapi"),
    ]


PAIRS: Final = {
    "nginx limit_req": ("nginx", "nginx + limit_req"),
    "envoy local_ratelimit": ("envoy", "envoy + local_ratelimit"),
    "slowapi": ("starlette", "starlette + slowapi"),
    "envoyproxy/ratelimit": ("envoy", "envoy + ratelimit"),
    "meltguard": ("uvicorn", "uvicorn + meltguard"),
    "meltguard quota": ("uvicorn", "uvicorn + meltguard quota"),
    "nginx asks meltguard": ("nginx", "nginx + meltguard decision"),
    "envoy asks meltguard": ("envoy", "envoy + meltguard decision"),
    "envoy asks meltguard quota": ("envoy", "envoy + meltguard decision quota"),
}
"""Who limits: the same server without and with it."""

RIVALS: Final[tuple[tuple[str, str, str], ...]] = (
    ("addedOnTheWire", "meltguard", "nginx limit_req"),
    ("addedOnTheWire", "meltguard", "envoy local_ratelimit"),
    ("addedOnTheWire", "meltguard", "slowapi"),
    ("decisionAdded", "nginx asks meltguard", "nginx limit_req"),
    ("decisionAdded", "envoy asks meltguard", "envoy local_ratelimit"),
    ("quotaAdded", "meltguard quota", "envoyproxy/ratelimit"),
    ("decisionQuotaAdded", "envoy asks meltguard quota", "envoyproxy/ratelimit"),
)
"""Compared in CPU time: the row, who of us, with whom."""


def wire_rows(found: Mapping[str, Measured]) -> list[dict[str, Any]]:
    """CPU and time that a limiter adds to a request on the wire."""
    cpu = {name: found[full].cost.median - found[base].cost.median for name, (base, full) in PAIRS.items()}
    late = {name: found[full].quantile(0.99) - found[base].quantile(0.99) for name, (base, full) in PAIRS.items()}
    made = [
        row(f"{name}Cpu", (cpu[ours], cpu[peer]), "CPU us", ("level", cpu[ours] <= cpu[peer]), peer)
        for name, ours, peer in RIVALS
    ]
    for name, ours, peer in (one for one in RIVALS if one[2] == "envoyproxy/ratelimit"):
        made.append(row(f"{name}P99", (late[ours], late[peer]), "ms", ("level", late[ours] <= late[peer]), peer))
        made.append(row(f"{name}P99", (late[ours], None), "ms", (f"<= {QUOTA_GOAL}", late[ours] <= QUOTA_GOAL), ""))
    return made


def costs_shown(title: str, found: Mapping[str, Cost]) -> Table:
    """For people."""
    shown = Table(title=title, title_justify="left")
    for column in ("subject", "CPU us", "least", "most", "1/s and core"):
        shown.add_column(column, justify="left" if column == "subject" else "right")
    for name, one in found.items():
        shown.add_row(name, f"{one.median:.2f}", f"{one.least:.2f}", f"{one.most:.2f}", f"{one.rate:,.0f}")
    return shown


def wire_shown(found: Mapping[str, Measured]) -> Table:
    """For people."""
    shown = Table(title="over loopback", title_justify="left")
    for column in ("subject", "CPU us", "least", "most", "p50 ms", "p99 ms"):
        shown.add_column(column, justify="left" if column == "subject" else "right")
    for name, one in found.items():
        cost = one.cost
        numbers = (cost.median, cost.least, cost.most, one.quantile(0.5), one.quantile(0.99))
        shown.add_row(name, *(f"{number:.2f}" for number in numbers))
    return shown


def unsteady(*found: Mapping[str, Cost]) -> list[str]:
    """The subjects without a limiter that cost much more in one round than in another."""
    plain = [(name, one) for costs in found for name, one in costs.items() if name in CONTROLS]
    return [name for name, one in plain if one.most > STEADY * one.least]


async def run(asked: argparse.Namespace, console: Console) -> tuple[list[dict[str, Any]], list[str]]:
    """All rows, and what was too unsteady to prove anything. Raises Unproven."""
    console.print(f"decisions, {asked.rounds} rounds of {asked.times} each ...")
    decided = await interleaved(decisions(), asked.rounds, asked.times)
    console.print(costs_shown("one decision in a process", decided))
    called = await interleaved(middlewares(), asked.rounds, asked.times // 4)
    console.print(costs_shown("one ASGI call in a process", called))
    made, wire = decision_rows(decided) + middleware_rows(called), dict[str, Cost]()
    if asked.wire:
        with tempfile.TemporaryDirectory() as folder, subjects(Path(folder), PlainProgress(sys.stderr)) as running:
            console.print(f"{len(running)} servers, {asked.rounds} rounds of {asked.requests} requests each ...")
            found = await measured(running, asked.rounds, asked.requests, asked.rate)
        console.print(wire_shown(found))
        made += wire_rows(found)
        wire = {name: one.cost for name, one in found.items()}
    return made, unsteady(decided, called, wire)


def main() -> int:
    """0: every goal is met; 1: not; 3: the run proves nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--times", type=int, default=20_000, help="decisions of each subject in each round")
    parser.add_argument("--requests", type=int, default=600, help="over the wire, of each subject in each round")
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second over the wire")
    parser.add_argument("--no-wire", dest="wire", action="store_false", help="only what runs in this process")
    asked = parser.parse_args()
    console = Console(width=120)
    take_the_loads_core()
    try:
        made, shaky = asyncio.run(run(asked, console))
    except Unproven as exc:
        console.print(str(exc))
        return Verdict.INCONCLUSIVE
    write(REPORT, made)
    for one in made:
        against = f" against {one['peerValue']} of {one['peer']}" if one["peer"] else ""
        console.print(
            f"{'met' if one['met'] else 'NOT MET'}: {one['name']} {one['value']} {one['unit']}{against} ({one['goal']})"
        )
    if shaky:
        console.print(f"proves little: rounds of {', '.join(shaky)} differ too much; run it on a quiet machine")
        return Verdict.INCONCLUSIVE
    return Verdict.WHOLE_STORY if all(one["met"] for one in made) else Verdict.NOT_ALL


if __name__ == "__main__":
    sys.exit(main())
