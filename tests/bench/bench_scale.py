"""The whole operator on a real control plane with fleets of several sizes: what grows, and what must hold in each.

Run as `python tests/bench/bench_scale.py`. Writes build/bench/scale.json and scale.png. Exit code 1 where a bound was
passed, a node did not come home byte for byte, or the operator ended; times are told, never judged.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec
from rich.console import Console
from rich.table import Table

from bench.commit import commit_now
from bench.judging import TOLD
from bench.scale_fleet import Size
from bench.scale_picture import draw
from bench.scale_rows import rows
from bench.scale_run import run
from meltguard.demo.report import Row, Verdict
from meltguard.localcluster.plane import running_plane
from meltguard.localcluster.progress import progress_on

REPORT: Final = Path("build/bench/scale.json")
SIZES: Final = (500, 2_000, 5_000)
SERVERS: Final = 160
"""Nodes that serve, each with one pod, at every size: only the lenders grow."""

Found = dict[int, list[Row]]


def shown(found: Mapping[int, list[Row]]) -> Table:
    """For people: a column a size."""
    table = Table(title="the operator on fleets of several sizes", title_justify="left")
    for column in ("name", *(f"{size:,} nodes" for size in found), "unit", "goal"):
        table.add_column(column)
    names = dict.fromkeys(row.name for every in found.values() for row in every)
    for name in names:
        of_size = {size: row for size, every in found.items() for row in every if row.name == name}
        values = [_cell(of_size.get(size)) for size in found]
        any_row = next(iter(of_size.values()))
        table.add_row(name, *values, any_row.unit, "" if any_row.goal == TOLD else any_row.goal)
    return table


def _cell(row: Row | None) -> str:
    if row is None or row.value is None:
        return "-"
    value = f"{row.value:.3g}" if isinstance(row.value, float) and row.value < 100 else f"{row.value:.0f}"
    return value if row.met else f"[red]{value}[/red]"


def write(out: Path, found: Found) -> None:
    """The report of all sizes that were run so far, and its picture."""
    out.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "commit": commit_now(),
        "sizes": {str(size): [row.as_json() for row in every] for size, every in found.items()},
    }
    out.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    draw(out.with_suffix(".png"), {size: {row.name: row.value for row in every} for size, every in found.items()})


def main() -> int:
    """0: all that is judged holds; 1: not."""
    parser = argparse.ArgumentParser(prog="bench_scale", description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=list(SIZES), help="fleets, by their nodes in all")
    parser.add_argument("--servers", type=int, default=SERVERS, help="of these, nodes that serve")
    parser.add_argument("--out", type=Path, default=REPORT, help="the report")
    options = parser.parse_args()
    console, found = Console(), Found()
    for nodes in options.nodes:
        with running_plane(progress=progress_on()) as plane:
            size = Size(nodes=nodes, servers=options.servers)
            measured = asyncio.run(run(plane, size, lambda text: console.print(f"[bench-scale] {text}", markup=False)))
        found[nodes] = rows(measured)
        write(options.out, found)
        for told in (*measured.over[:5], *measured.changed[:5], measured.failed):
            if told:
                console.print(told, style="red", markup=False)
    console.print(shown(found))
    return Verdict.WHOLE_STORY if all(row.met for every in found.values() for row in every) else Verdict.NOT_ALL


if __name__ == "__main__":
    sys.exit(main())
