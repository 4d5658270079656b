"""`meltguard rehearse`: a policy on a recorded surge, before it is applied."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Final

import typer
from rich.console import Console

from meltguard.api.quantities import parse_duration
from meltguard.cli import rehearse_flags as flags
from meltguard.clock import SystemClock
from meltguard.core.units import Gpus
from meltguard.errors import InvalidInput
from meltguard.rehearse.figures import Figures, figures_of
from meltguard.rehearse.fleet_file import read_fleet
from meltguard.rehearse.fleet_plan import FleetPlan
from meltguard.rehearse.manifests import Manifests, read_manifests
from meltguard.rehearse.progress import watched
from meltguard.rehearse.promises import Promise, read_promise
from meltguard.rehearse.rehearsal import Plan, Rehearsal, merged
from meltguard.rehearse.rehearsal import rehearse as run
from meltguard.rehearse.report import report, written
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
    manifests: flags.Manifests,
    nodes: flags.Nodes = None,
    fleet: flags.Fleet = None,
    surge: flags.SurgeFrom = "flash-crowd",
    time_column: flags.TimeColumn = "",
    rate_column: flags.RateColumn = "",
    per: flags.Per = "1s",
    prometheus: flags.PrometheusUrl = "",
    query: flags.Query = "",
    since: flags.Since = "",
    until: flags.Until = "",
    tiers: flags.Tiers = "",
    peak: flags.Peak = "",
    begins: flags.Begins = MONDAY,
    then: flags.Then = "0s",
    compare: flags.Compare = None,
    fail_if: flags.FailIf = None,
    output: flags.Printed = flags.Output.TEXT,
    png: flags.Png = None,
    seed: flags.Seed = 1,
    exact: flags.Exact = False,
) -> None:
    """Rehearse a policy on a recorded surge, before it is applied.

    The operator's own decisions and node moves, on a service and lenders that are simulated here; nothing is applied.
    Exit codes: 0 done, 1 it did not work, 2 the input is wrong, 3 a --fail-if holds.
    """
    columns = Columns(time=time_column, rate=rate_column, per=flag(per, "--per", parse_duration))
    ranged = AskedRange(url=prometheus, query=query, since=since, until=until)
    asked = AskedSurge(
        source=surge, columns=columns, prometheus=ranged, tiers=tiers, peak=peak, begins=begins, then=then
    )
    policies = (read_manifests(manifests), *(read_manifests([path], manifests) for path in compare or ()))
    plans = _plans(policies, read_fleet(fleet, nodes or []), asked, seed)
    promises = [[read_promise(text, plan.policy) for text in fail_if or ()] for plan in plans]
    picture = None if png is None else _painter(png)
    done = _all_done([_exactly(plan) if exact else plan for plan in plans], promises)
    _tell(done, () if picture is None else picture(done), output)
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


def _all_done(plans: Sequence[Plan], promises: Sequence[Sequence[Promise]]) -> list[Done]:
    console, clock, done = Console(stderr=True), SystemClock(), []
    for plan, kept in zip(plans, promises, strict=True):
        with watched(console, clock, (plan.manifests.name, plan.surge.until)) as progress:
            rehearsal = run(plan, progress)
        figures = figures_of(rehearsal)
        broken = tuple(text for one in kept if (text := one.broken(figures)))
        done.append(Done(rehearsal=rehearsal, figures=figures, broken=broken))
    return done


Painter = Callable[[Sequence[Done]], Sequence[Path]]


def _painter(path: Path) -> Painter:
    """Draws one picture a policy; asked for beforehand, so that nobody waits for a picture that cannot be.

    Raises:
        InvalidInput: pictures cannot be drawn, or not be written there.
    """
    if path.suffix != ".png":
        raise InvalidInput(f"--png {path}: pictures are PNG; name a file that ends with .png")
    try:
        draw = import_module("meltguard.rehearse.picture").draw  # its library is an extra, and slow to load
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except ImportError as exc:
        raise InvalidInput(f"--png needs matplotlib ({exc}); install meltguard[pictures]") from exc
    except OSError as exc:
        raise InvalidInput(f"--png {path}: cannot be written: {exc}") from exc

    def painted(done: Sequence[Done]) -> Sequence[Path]:
        count = range(1, len(done) + 1)
        names = [path if number == 1 else path.with_stem(f"{path.stem}-{number}") for number in count]
        for one, name in zip(done, names, strict=True):
            draw(one.rehearsal, name)
        return names

    return painted


def _tell(done: Sequence[Done], pictures: Sequence[Path], output: flags.Output) -> None:
    if output is flags.Output.JSON:
        typer.echo(written(report([(one.rehearsal, one.figures, one.broken) for one in done])), nl=False)
        return
    console = console_for(sys.stdout)
    printed([(one.rehearsal, one.figures) for one in done], console)
    for one in done:
        outcome(one.rehearsal.plan.manifests.name, one.broken, console)
    for path in pictures:
        console.print(f"picture: {path}", markup=False, soft_wrap=True)
