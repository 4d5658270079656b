"""`meltguard rehearse`: a policy on a recorded surge, before it is applied."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from meltguard.api.quantities import parse_duration
from meltguard.clock import SystemClock
from meltguard.core.units import Gpus
from meltguard.errors import InvalidInput
from meltguard.rehearse.figures import Figures, figures_of
from meltguard.rehearse.fleet_file import read_fleet
from meltguard.rehearse.fleet_plan import FleetPlan
from meltguard.rehearse.manifests import Manifests, read_manifests
from meltguard.rehearse.progress import watched
from meltguard.rehearse.promises import read_promise
from meltguard.rehearse.rehearsal import Plan, Rehearsal, merged
from meltguard.rehearse.rehearsal import rehearse as run
from meltguard.rehearse.report import report, written
from meltguard.rehearse.shapes import SHAPES
from meltguard.rehearse.surge import Recorded
from meltguard.rehearse.surge_asked import (
    MONDAY,
    AskedRange,
    AskedSurge,
    capped,
    flag,
    note_of,
    read_surge,
    surge_for,
    with_notes,
)
from meltguard.rehearse.surge_csv import Columns
from meltguard.rehearse.users import mean_units
from meltguard.rehearse.words import console_for, outcome, printed

BROKEN: Final = 3
"""Exit code where something happened that `--fail-if` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One policy's rehearsal, its figures, and what it broke."""

    rehearsal: Rehearsal
    figures: Figures
    broken: tuple[str, ...]


def rehearse(
    manifests: Annotated[
        list[Path], typer.Argument(help="The files that you would apply: one ImageServicePolicy and its GPUPools.")
    ],
    nodes: Annotated[
        list[str] | None,
        typer.Option("--nodes", metavar="POOL=NODES[xGPUS]", help="Nodes of a pool, 8 GPUs each if not said."),
    ] = None,
    fleet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML: nodes, the work on them, how long an image takes.")
    ] = None,
    surge: Annotated[
        str, typer.Option(metavar="FILE|SHAPE", help=f"CSV (also .gz) of time,rate or a shape: {', '.join(SHAPES)}.")
    ] = "flash-crowd",
    time_column: Annotated[str, typer.Option(metavar="NAME", help="Of the CSV.")] = "",
    rate_column: Annotated[str, typer.Option(metavar="NAME", help="Of the CSV, for all tiers together.")] = "",
    per: Annotated[str, typer.Option(metavar="DURATION", help="What the CSV's rates count over.")] = "1s",
    prometheus: Annotated[str, typer.Option(metavar="URL", help="Take the surge from this Prometheus.")] = "",
    query: Annotated[str, typer.Option(metavar="PROMQL", help="Requests a second, at best `sum by (tier)`.")] = "",
    since: Annotated[str, typer.Option("--from", metavar="RFC3339", help="Begin of the query's range.")] = "",
    until: Annotated[str, typer.Option("--to", metavar="RFC3339", help="End of the query's range.")] = "",
    tiers: Annotated[
        str, typer.Option(metavar="TIER=SHARE,...", help="Who sends a record's one rate; else 90 % the lowest tier.")
    ] = "",
    peak: Annotated[
        str, typer.Option(metavar="RATE|Nx", help="Scale it to requests a second, or to N times the own GPUs.")
    ] = "",
    begins: Annotated[
        str, typer.Option(metavar="RFC3339", help="Time of day at the start, where the record tells none.")
    ] = MONDAY,
    then: Annotated[str, typer.Option(metavar="DURATION", help="For so long its last rate goes on.")] = "0s",
    compare: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Another policy on the same surge; may be repeated.")
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(metavar="LIMIT", help="Exit with 3 if it holds: 'paid.p99>10', 'free.shed>50%', 'lost>1'."),
    ] = None,
    output: Annotated[str, typer.Option("--output", "-o", metavar="text|json", help="What is printed.")] = "text",
    png: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw it; each policy of a comparison by itself.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn: the same seed, the same rehearsal.")] = 1,
    exact: Annotated[
        bool, typer.Option("--exact", help="Simulate each serving pod by itself, not a node's as one: slower.")
    ] = False,
) -> None:
    """Rehearse a policy on a recorded surge: the operator's own decisions and moves, on a service simulated here.

    Nothing is applied. Exit codes: 0 done, 1 it did not work, 2 the input is wrong, 3 a --fail-if holds.
    """
    if output not in {"text", "json"}:
        raise InvalidInput(f"--output {output!r}: is neither text nor json")
    asked = AskedSurge(
        source=surge,
        columns=Columns(time=time_column, rate=rate_column, per=flag(per, "--per", parse_duration)),
        prometheus=AskedRange(url=prometheus, query=query, since=since, until=until),
        tiers=tiers,
        peak=peak,
        begins=begins,
        then=then,
    )
    policies = (read_manifests(manifests), *(read_manifests([path], manifests) for path in compare or ()))
    there = read_fleet(fleet, nodes or [])
    plans = _plans(policies, there, asked, seed)
    done = _all_done([_exactly(plan) if exact else plan for plan in plans], fail_if or [])
    pictures = _draw(done, png) if png is not None else ()
    _tell(done, pictures, output)
    if any(one.broken for one in done):
        raise typer.Exit(BROKEN)


def _plans(policies: Sequence[Manifests], fleet: FleetPlan, asked: AskedSurge, seed: int) -> list[Plan]:
    """The same surge for each."""
    recorded = read_surge(asked)
    return [_plan(one, fleet, (asked, recorded), seed) for one in policies]


def _plan(manifests: Manifests, fleet: FleetPlan, given: tuple[AskedSurge, Recorded], seed: int) -> Plan:
    asked, recorded = given
    policy, surge = manifests.policy.policy, surge_for(manifests, fleet, asked, recorded)
    notes = (*note_of(asked, recorded, policy), *capped(policy, surge, mean_units(fleet.service)))
    return Plan(
        manifests=with_notes(manifests, notes),
        fleet=fleet,
        surge=surge,
        seed=seed,
        gpus_a_pod=merged(manifests, fleet),
    )


def _exactly(plan: Plan) -> Plan:
    return replace(plan, gpus_a_pod=Gpus(plan.manifests.policy.policy.gpus_per_pod))


def _all_done(plans: Sequence[Plan], limits: Sequence[str]) -> list[Done]:
    promises = [[read_promise(text, plan.policy) for text in limits] for plan in plans]
    console, clock, done = Console(stderr=True), SystemClock(), []
    for plan, kept in zip(plans, promises, strict=True):
        with watched(console, clock, (plan.manifests.name, plan.surge.until)) as progress:
            rehearsal = run(plan, progress)
        figures = figures_of(rehearsal)
        broken = tuple(text for one in kept if (text := one.broken(figures)))
        done.append(Done(rehearsal=rehearsal, figures=figures, broken=broken))
    return done


def _draw(done: Sequence[Done], path: Path) -> tuple[Path, ...]:
    """One picture a policy. Raises InvalidInput where pictures cannot be drawn or written."""
    names = [path if len(done) == 1 else path.with_stem(f"{path.stem}-{number}") for number in range(1, len(done) + 1)]
    try:
        draw = import_module("meltguard.rehearse.picture").draw  # its library is an extra, and slow to load
        for one, name in zip(done, names, strict=True):
            draw(one.rehearsal, name)
    except ImportError as exc:
        raise InvalidInput(f"--png needs matplotlib ({exc}); install meltguard[pictures]") from exc
    except (OSError, ValueError) as exc:
        raise InvalidInput(f"--png {path}: cannot be written: {exc}") from exc
    return tuple(names)


def _tell(done: Sequence[Done], pictures: Sequence[Path], output: str) -> None:
    if output == "json":
        typer.echo(written(report([(one.rehearsal, one.figures, one.broken) for one in done])), nl=False)
        return
    console = console_for(sys.stdout)
    printed([(one.rehearsal, one.figures) for one in done], console)
    for one in done:
        outcome(one.rehearsal.plan.manifests.name, one.broken, console)
    for path in pictures:
        console.print(f"picture: {path}", markup=False, soft_wrap=True)
