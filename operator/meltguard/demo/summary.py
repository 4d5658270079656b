"""What the demo prints before and after the surge."""

from typing import Any, Final

from rich.console import Console
from rich.table import Table

from meltguard.demo.files import RunFiles
from meltguard.demo.judge import BENCH, Judged
from meltguard.demo.report import Row, Verdict, report, rows
from meltguard.demo.scene import SERVICE, SERVING
from meltguard.localcluster.plane import Plane

FIGURES: Final = ("offered", "admitted", "waited", "refused", "waitP50", "waitP99")
WORDS = {
    Verdict.WHOLE_STORY: "[green]the whole story happened and every promise was kept[/green]",
    Verdict.NOT_ALL: "[red]not the whole story: see what is not done or not met[/red]",
    Verdict.INCONCLUSIVE: "[yellow]inconclusive: the load generator lagged; give it a quieter machine[/yellow]",
}


def print_commands(plane: Plane, source: str) -> None:
    """How to look into the run while it goes on."""
    kubectl = plane.binaries["kubectl"]
    out = Console(highlight=False)
    out.print(f"Service times, users and the surge's shape: {source}.")
    out.print("Look into it meanwhile, from another terminal:")
    out.print(f"  export KUBECONFIG={plane.kubeconfig}", soft_wrap=True)
    for command in (
        "get isp,gpool -A",
        f"describe isp -n {SERVING} {SERVICE}",
        "get nodes -L workload",
        f"get events -n {SERVING} --watch",
    ):
        out.print(f"  {kubectl} {command}", soft_wrap=True)
    out.print(f"  Prometheus: {plane.prometheus_url}", soft_wrap=True)


def print_stop(plane: Plane) -> None:
    """How to end a run that was kept."""
    out = Console(highlight=False)
    out.print(f"Everything stays up (KUBECONFIG={plane.kubeconfig}) until you press Ctrl-C here.", soft_wrap=True)


def print_summary(judged: Judged, outcome: Verdict, files: RunFiles) -> None:
    """The story with its times, the judged values, the requests, and where all of it is written."""
    out = Console(highlight=False)
    told = report(judged.found, judged.facts)
    out.print(_story(told["story"]))
    out.print(_requests(told["requests"]))
    out.print(_judged(rows(judged.found, judged.facts)))
    for promise, times in told["broken"].items():
        for text in times[:5]:
            out.print(f"  broken: {promise}: {text}")
    out.print(f"{WORDS[outcome]} (speed {judged.facts.speed:g}: {told['speedMeans']})")
    out.print(
        f"report {files.report}, picture {files.picture}, rows {BENCH.absolute()}, evidence in {files.root}",
        soft_wrap=True,
    )


def _story(steps: list[dict[str, Any]]) -> Table:
    table = Table(title="the story (seconds from the start of the surge)", title_justify="left")
    table.add_column("at", justify="right")
    table.add_column("step")
    for step in sorted(steps, key=lambda step: (not step["done"], step["at"] or 0.0)):
        table.add_row(f"{step['at']}" if step["done"] else "[red]not done[/red]", str(step["step"]))
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
