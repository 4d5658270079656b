"""What the demo prints before and after the surge."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from meltguard.demo.files import RunFiles
from meltguard.demo.introduction import introduction
from meltguard.demo.judge import BENCH, Judged
from meltguard.demo.report import Row, Verdict, report, rows
from meltguard.demo.scene import SERVICE, SERVING
from meltguard.localcluster.plane import Plane

WIDTH: Final = 150
"""Letters a line where no terminal tells its width."""

FIGURES: Final = ("offered", "admitted", "waited", "refused", "waitP50", "waitP99")
WORDS = {
    Verdict.WHOLE_STORY: "[green]the whole story happened and every promise was kept[/green]",
    Verdict.NOT_ALL: "[red]not the whole story: see what is not done or not met[/red]",
    Verdict.INCONCLUSIVE: "[yellow]inconclusive: the load generator lagged; give it a quieter machine[/yellow]",
}


def print_introduction(speed: float, source: str) -> None:
    """Who is who, what will happen, what is real and what is simulated: for somebody who never heard of Meltguard."""
    _console().print(introduction(speed, source), markup=False, soft_wrap=True)


def print_commands(plane: Plane) -> None:
    """How to look into the run while it goes on."""
    kubectl = plane.binaries["kubectl"]
    out = Console(highlight=False)
    out.print("\nLook into it meanwhile, from another terminal:")
    out.print(f"  export KUBECONFIG={plane.kubeconfig}", soft_wrap=True)
    for command in (
        "get isp,gpool -A",
        f"describe isp -n {SERVING} {SERVICE}",
        "get nodes -L workload",
        f"get events -n {SERVING} --watch",
    ):
        out.print(f"  {kubectl} {command}", soft_wrap=True)
    out.print(f"  Prometheus: {plane.prometheus_url}", soft_wrap=True)


def _console() -> Console:
    """As wide as the terminal; where there is none, wide enough for sentences in columns."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)


def print_stop(plane: Plane) -> None:
    """How to end a run that was kept."""
    out = Console(highlight=False)
    out.print(f"Everything stays up (KUBECONFIG={plane.kubeconfig}) until you press Ctrl-C here.", soft_wrap=True)


def print_summary(judged: Judged, verdict: Verdict, files: RunFiles) -> None:
    """The story with its times, the judged values, the outcome, and where all of it is written."""
    out = _console()
    told = report(judged.found, judged.facts)
    out.print(_story(told["story"]))
    out.print(_requests(told["requests"]))
    out.print(_judged(rows(judged.found, judged.facts)))
    for promise, times in told["broken"].items():
        for text in times[:5]:
            out.print(f"  broken: {promise}: {text}")
    out.print(_outcome(told["outcome"]))
    out.print(f"{WORDS[verdict]} (speed {judged.facts.speed:g}: {told['speedMeans']})\n")
    for what, where in _further(files):
        out.print(f"  {what:<46} {where}", soft_wrap=True)


def _further(files: RunFiles) -> Iterator[tuple[str, object]]:
    """Where to look further."""
    yield "the story in one picture, each decision marked", files.picture
    yield "all of this as JSON, every decision with it", files.report
    yield "the judged values as rows", BENCH.absolute()
    yield "audit log, the agents' journals, all logs", files.root
    yield "how it decides, and how to install it", "README.md; docs/law.md, docs/lending.md, docs/kubectl.md"


def _outcome(lines: Mapping[str, str]) -> Table:
    table = Table(title="the outcome", title_justify="left", show_header=False, show_lines=True)
    table.add_column("what", no_wrap=True)
    table.add_column("outcome")
    for what, text in lines.items():
        table.add_row(what, escape(text))
    return table


def _story(steps: list[dict[str, Any]]) -> Table:
    table = Table(title="the story (seconds from the start of the surge)", title_justify="left")
    table.add_column("at", justify="right")
    table.add_column("level")
    table.add_column("step", ratio=2)
    table.add_column("why: the operator's own words, or what was measured", ratio=3)
    for step in sorted(steps, key=lambda step: (not step["done"], step["at"] or 0.0)):
        when = f"{step['at']:.1f}" if step["done"] else "[red]not done[/red]"
        table.add_row(when, step["level"] or "", str(step["step"]), escape(step["why"]))
    return table


def _requests(tiers: dict[str, dict[str, Any]]) -> Table:
    table = Table(title="requests, from the agents' journals", title_justify="left")
    table.add_column("tier")
    for column in FIGURES:
        table.add_column(column, justify="right")
    table.add_column("refused for")
    for tier, figures in tiers.items():
        reasons = ", ".join(f"{count} {reason}" for reason, count in figures["refusedFor"].items())
        table.add_row(tier, *(f"{figures[name]:g}" for name in FIGURES), reasons)
    return table


def _judged(judged: tuple[Row, ...]) -> Table:
    table = Table(title="judged", title_justify="left")
    for column in ("value", "goal", "name", ""):
        table.add_column(column, justify="right" if column in {"value", "goal"} else "left")
    for row in judged:
        value = f"{row.value:.3f}" if isinstance(row.value, float) else str(row.value)
        table.add_row(
            f"{value} {row.unit}", row.goal, row.name, "[green]met[/green]" if row.met else "[red]not met[/red]"
        )
    return table
