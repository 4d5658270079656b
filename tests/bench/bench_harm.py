"""What borrowing busy nodes costs research, on recorded jobs: our choice against newest-first and random.

Run as `python tests/bench/bench_harm.py`. Writes build/bench/harm.json; exit code 1 where the goal is missed.
"""

import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.jobs_replay import Running, moments, read_jobs, trace_beside_checkout
from bench.judging import told
from bench.victims_compared import (
    Checkpoints,
    Moment,
    Way,
    at_random,
    harm_of,
    least_harm,
    newest_first,
    newest_node_first,
    one_node_at_best,
)
from meltguard.demo.report import Row, write

NODES: Final = 64
EVERY: Final = 7200.0
WANTED: Final = (1, 2, 4)
GOAL: Final = 2 / 3
SEED: Final = 20171009
REPORT: Final = Path("build/bench/harm.json")
OURS, NEWEST, NEWEST_NODE, RANDOM = "least harm", "newest first", "newest node first", "random"
BOUND: Final = "best single node"

Sums = Mapping[str, tuple[float, int]]
"""By way: GPU-hours lost and jobs hit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One assumption about checkpoints, one number of nodes, over all moments that need victims."""

    checkpoints: Checkpoints
    wanted: int
    moments: int
    sums: Sums

    @property
    def name(self) -> str:
        """For rows."""
        return f"{self.checkpoints.name.lower()}, {self.wanted} of {NODES} nodes"


def compare(history: Sequence[tuple[float, Sequence[Running]]], nodes: int, case: tuple[Checkpoints, int]) -> Case:
    """Every way at every moment at which idle nodes do not suffice."""
    checkpoints, wanted = case
    ways: dict[str, Way] = {
        OURS: least_harm,
        NEWEST: newest_first,
        NEWEST_NODE: newest_node_first,
        RANDOM: at_random(random.Random(SEED)),  # noqa: S311 - no secret depends on it
    }
    if wanted == 1:
        ways[BOUND] = one_node_at_best
    asked = [
        Moment(at=at, nodes=nodes, running=running, wanted=wanted, checkpoints=checkpoints) for at, running in history
    ]
    hard = [moment for moment in asked if moment.short]
    sums = {}
    for name, way in ways.items():
        found = [harm_of(moment, way(moment)) for moment in hard]
        sums[name] = (sum(one.gpu_hours for one in found), sum(one.jobs for one in found))
    return Case(checkpoints=checkpoints, wanted=wanted, moments=len(hard), sums=sums)


def total(cases: Sequence[Case], way: str) -> tuple[float, int]:
    """GPU-hours and jobs of a way, over all cases."""
    return sum(case.sums[way][0] for case in cases), sum(case.sums[way][1] for case in cases)


def rows(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Each value beside a peer's; the first row is the one that is judged."""
    every = {way: total(cases, way) for way in (OURS, NEWEST, NEWEST_NODE, RANDOM)}
    sums: list[tuple[str, Sums]] = [("all cases", every), *((case.name, case.sums) for case in cases)]
    peers = (NEWEST, NEWEST_NODE, RANDOM, BOUND)
    hours = [_hours(name, ways, peer) for name, ways in sums for peer in peers if peer in ways]
    jobs = [_jobs(name, ways, peer) for name, ways in sums for peer in peers if peer in ways]
    return [*hours, *jobs]


def _hours(name: str, ways: Sums, peer: str) -> dict[str, Any]:
    ours, theirs = ways[OURS][0], ways[peer][0]
    most = 1.0 if peer == BOUND else GOAL
    goal = f"<= {most:.3f} of {peer}"
    row = Row(
        name=f"gpuHoursLost ({name})",
        value=round(ours, 1),
        unit="GPU-hours",
        goal=goal,
        met=ours <= most * theirs + 1e-6,
    )
    return {**row.as_json(), "peer": peer, "peerValue": round(theirs, 1), "ratio": _ratio(ours, theirs)}


def _jobs(name: str, ways: Sums, peer: str) -> dict[str, Any]:
    ours, theirs = ways[OURS][1], ways[peer][1]
    row = told(f"jobsHit ({name})", ours, "jobs")
    return {**row.as_json(), "peer": peer, "peerValue": theirs, "ratio": _ratio(ours, theirs)}


def _ratio(ours: float, theirs: float) -> float | None:
    return round(ours / theirs, 3) if theirs else None


def table(cases: Sequence[Case]) -> Table:
    """For people."""
    shown = Table(title=f"GPU-hours lost (jobs hit), {NODES} nodes of 8 GPUs", caption="by the jobs themselves, no cap")
    for column in ("reporting", "nodes", "moments", OURS, NEWEST, NEWEST_NODE, RANDOM, BOUND):
        shown.add_column(column, justify="left" if column == "reporting" else "right")
    for case in cases:
        cells = [_cell(case.sums.get(way)) for way in (OURS, NEWEST, NEWEST_NODE, RANDOM, BOUND)]
        shown.add_row(case.checkpoints.name.lower(), str(case.wanted), str(case.moments), *cells)
    return shown


def _cell(sums: tuple[float, int] | None) -> str:
    return "" if sums is None else f"{sums[0]:,.0f} ({sums[1]:,})"


def main() -> int:
    """0: at least a third less than newest-first, over all cases; 1: not; 2: there is no trace to replay."""
    console = Console()
    path = trace_beside_checkout()
    if path is None:
        console.print("there is no ../shared/traces/research-jobs-philly.csv.gz beside this checkout: nothing measured")
        return 2
    jobs = read_jobs(path)
    console.print(f"replaying {len(jobs)} jobs on {NODES} nodes; the trace has no checkpoints, so it is assumed:")
    console.print("\n".join(f"  {assumed.name.lower()}: {assumed.value}" for assumed in Checkpoints))
    history = list(moments(jobs, NODES, EVERY))
    asked = [(checkpoints, wanted) for checkpoints in Checkpoints for wanted in WANTED]
    cases = [compare(history, NODES, case) for case in track(asked, "comparing", console=console)]
    found = rows(cases)
    write(REPORT, found)
    console.print(table(cases))
    missed = [row for row in found if not row["met"]]
    for row in missed:
        console.print(f"not met: {row['name']} is {row['ratio']} of {row['peer']}, goal {row['goal']}", style="yellow")
    first = found[0]
    console.print(f"over all cases {first['ratio']} of {first['peer']}; goal {first['goal']}. Rows: {REPORT}")
    return 0 if first["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
