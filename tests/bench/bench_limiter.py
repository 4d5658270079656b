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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table

from bench.commit import commit_now
from bench.cores import take_the_loads_core
from bench.judging import TOLD
from bench.limiter_inprocess import Cost, Spread, decisions, interleaved, middlewares
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


@dataclass(frozen=True, slots=True)
class Against:
    """Our figure and the peer's, None where the goal is a number; what is told, and its spread over the rounds."""

    ours: float
    our_spread: Spread
    theirs: float | None = None
    their_spread: Spread | None = None


def row(name: str, found: Against, unit: str, goal: tuple[str, bool], peer: str) -> dict[str, Any]:
    """One line of the report."""
    one = Row(name=name, value=round(found.ours, 3), unit=unit, goal=goal[0], met=goal[1])
    return {
        **one.as_json(),
        "spread": spread_json(found.our_spread),
        "peer": peer,
        "peerValue": None if found.theirs is None else round(found.theirs, 3),
        "peerSpread": None if found.their_spread is None else spread_json(found.their_spread),
        "ratio": round(found.ours / found.theirs, 3) if found.theirs else None,
    }


def spread_json(spread: Spread) -> dict[str, float]:
    """Over the rounds."""
    return {"least": round(spread.least, 3), "median": round(spread.median, 3), "most": round(spread.most, 3)}


def decision_rows(found: Mapping[str, Cost]) -> list[dict[str, Any]]:
    """Decisions a second and core."""
    ours, open_to_all = found["meltguard"], found["meltguard, feature open to all"]
    alone = Against(ours.rate, ours.per_second)
    made = [row("decisionsPerCore", alone, "1/s", (f">= {RATE_GOAL:,.0f}", ours.rate >= RATE_GOAL), "")]
    for peer in (name for name in found if name.startswith(("limits", "throttled"))):
        theirs = found[peer]
        both = Against(ours.rate, ours.per_second, theirs.rate, theirs.per_second)
        made.append(row("decisionsPerCore", both, "1/s", (f"ahead of {peer}", ours.rate >= theirs.rate), peer))
    share = Against(ours.median - open_to_all.median, ours.beyond(open_to_all))
    return [*made, row("featureShareAdds", share, "CPU us", (TOLD, True), "")]


def middleware_rows(found: Mapping[str, Cost]) -> list[dict[str, Any]]:
    """CPU that a limiter in the process adds to a request."""
    ours, our_spread = _added(found, "bare app", "bare app + meltguard")
    theirs, their_spread = _added(found, "starlette", "starlette + slowapi")
    alone, both = Against(ours, our_spread), Against(ours, our_spread, theirs, their_spread)
    return [
        row("addedInProcess", alone, "CPU us", (f"<= {ADDED_GOAL}", ours <= ADDED_GOAL), ""),
        row("addedInProcess", both, "CPU us", ("less than slowapi", ours < theirs), "slowapi"),
    ]


def _added(found: Mapping[str, Cost], base: str, full: str) -> tuple[float, Spread]:
    """What a limiter adds: between the medians, and round by round."""
    return found[full].median - found[base].median, found[full].beyond(found[base])


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
    costs = {name: one.cost for name, one in found.items()}
    cpu = {name: _added(costs, base, full) for name, (base, full) in PAIRS.items()}
    late = {name: _later(found[base], found[full]) for name, (base, full) in PAIRS.items()}
    made = [_compared(f"{name}Cpu", "CPU us", cpu, ours, peer) for name, ours, peer in RIVALS]
    for name, ours, peer in (one for one in RIVALS if one[2] == "envoyproxy/ratelimit"):
        made.append(_compared(f"{name}P99", "ms", late, ours, peer))
        goal = (f"<= {QUOTA_GOAL}", late[ours][0] <= QUOTA_GOAL)
        made.append(row(f"{name}P99", Against(*late[ours]), "ms", goal, ""))
    return made


def _later(base: Measured, full: Measured) -> tuple[float, Spread]:
    """Milliseconds added at p99: over all requests, and round by round."""
    return full.quantile(0.99) - base.quantile(0.99), full.quantiles(0.99).beyond(base.quantiles(0.99))


def _compared(name: str, unit: str, added: Mapping[str, tuple[float, Spread]], ours: str, peer: str) -> dict[str, Any]:
    both = Against(*added[ours], *added[peer])
    return row(name, both, unit, ("level", added[ours][0] <= added[peer][0]), peer)


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
    commit = commit_now()
    write(REPORT, [{**one, "commit": commit} for one in made])
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
