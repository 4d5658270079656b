"""What `meltguard rehearse` can be told, each flag with its help."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from meltguard.rehearse.shapes import SHAPES


class Output(StrEnum):
    """What is printed."""

    TEXT = "text"
    JSON = "json"


Manifests = Annotated[
    list[Path], typer.Argument(help="The files that you would apply: one ImageServicePolicy and its GPUPools.")
]
Nodes = Annotated[
    list[str] | None,
    typer.Option("--nodes", metavar="POOL=NODES[xGPUS]", help="Nodes of a pool, of 8 GPUs each if not said."),
]
Fleet = Annotated[
    Path | None, typer.Option(metavar="FILE", help="YAML: nodes, the work on them, how long an image takes.")
]
SurgeFrom = Annotated[
    str, typer.Option(metavar="FILE|SHAPE", help=f"CSV (also .gz) of time,rate; or a shape: {', '.join(SHAPES)}.")
]
TimeColumn = Annotated[str, typer.Option(metavar="NAME", help="Of the CSV.")]
RateColumn = Annotated[str, typer.Option(metavar="NAME", help="Of the CSV, for all tiers together.")]
Per = Annotated[str, typer.Option(metavar="DURATION", help="What the CSV's rates count over.")]
PrometheusUrl = Annotated[str, typer.Option(metavar="URL", help="Take the surge from this Prometheus.")]
Query = Annotated[str, typer.Option(metavar="PROMQL", help="Requests a second, at best `sum by (tier) (...)`.")]
Since = Annotated[str, typer.Option("--from", metavar="RFC3339", help="Begin of a query, or of a CSV of dates.")]
Until = Annotated[str, typer.Option("--to", metavar="RFC3339", help="Its end.")]
Tiers = Annotated[
    str, typer.Option(metavar="TIER=SHARE,...", help="Who sends a record's one rate; else 90 % the lowest tier.")
]
Peak = Annotated[str, typer.Option(metavar="RATE|Nx", help="Scale it: requests a second, or N times the own GPUs.")]
Begins = Annotated[str, typer.Option(metavar="RFC3339", help="Time of day at the start, where the record tells none.")]
Then = Annotated[str, typer.Option(metavar="DURATION", help="For so long its last rate goes on.")]
Compare = Annotated[
    list[Path] | None, typer.Option(metavar="FILE", help="Another policy on the same surge; may be repeated.")
]
FailIf = Annotated[
    list[str] | None,
    typer.Option(metavar="LIMIT", help="Exit with 3 if it holds: 'paid.p99>10', 'free.shed>50%', 'lost>1'."),
]
Printed = Annotated[Output, typer.Option("--output", "-o", help="What is printed.")]
Png = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it; of a comparison each policy by itself.")]
Seed = Annotated[int, typer.Option(help="Of everything that is drawn: the same seed, the same rehearsal.")]
Exact = Annotated[
    bool, typer.Option("--exact", help="Simulate each serving pod by itself, not a node's as one: slower.")
]
