"""`meltguard demo`: a surge on a local plane, from the first limit to the last node's return."""

from pathlib import Path
from typing import Annotated

import typer

from meltguard.demo.run import run
from meltguard.demo.stage import Options

INTERRUPTED = 130


def demo(
    speed: Annotated[
        float,
        typer.Option(
            min=4.0,
            max=24.0,
            help="Divides arrival gaps, service times, model load and the policy's own durations. "
            "Operator, API server, Prometheus and clocks run in real time.",
        ),
    ] = 12.0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything up afterwards, until Ctrl-C.")] = False,
    headless: Annotated[bool, typer.Option("--headless", help="Plain lines instead of the live view.")] = False,
    report: Annotated[Path, typer.Option(help="Write the report there; the run's other files go beside it.")] = Path(
        "build/demo/report.json"
    ),
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 1,
) -> None:
    """Show the operator lend a node and limit a tier on a real control plane.

    Exit codes: 0 the whole story happened, 1 it did not, 2 wrong usage or surroundings, 3 inconclusive because the load
    generator lagged.
    """
    options = Options(speed=speed, seed=seed, keep=keep, headless=headless, report=report)
    try:
        outcome = run(options)
    except KeyboardInterrupt as exc:
        typer.echo("interrupted; nothing is left running", err=True)
        raise typer.Exit(INTERRUPTED) from exc
    raise typer.Exit(int(outcome))
