"""`meltguard local`: a control plane on this machine, for as long as you like."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from meltguard.localcluster.binaries import binary, plane_binaries
from meltguard.localcluster.cache import cache_directory
from meltguard.localcluster.detached import ComponentNow, bring_up, look, take_down
from meltguard.localcluster.progress import progress_on

app = typer.Typer(no_args_is_help=True, help="A real control plane as processes on loopback (Linux).")

Name = Annotated[str, typer.Option(help="Several planes run side by side under different names.")]
Keep = Annotated[bool, typer.Option(help="Leave logs, audit log and data when the plane is taken down.")]


@app.command()
def build() -> None:
    """Build what planes and tests run (helm too) into the cache; what is there already stays."""
    progress = progress_on()
    programs = plane_binaries(progress) | {"helm": binary("helm", progress)}
    typer.echo(f"{len(programs)} programs are at hand; built ones are in {cache_directory()}")


@app.command()
def up(name: Name = "default", keep_data: Keep = False) -> None:
    """Start a plane, wait until it is ready and print how to use it.

    The first time its programs are built, which takes about a quarter of an hour. `eval "$(meltguard local up)"`
    points kubectl at it.
    """
    state = bring_up(name, progress_on(), keep_data=keep_data)
    given = "" if name == "default" else f" --name {name}"
    typer.echo(f"export KUBECONFIG={state.kubeconfig}")
    typer.echo("# kubectl get nodes")
    typer.echo(f"# Prometheus: {state.prometheus_url}   Valkey: {state.valkey_url}")
    typer.echo(f"# logs, audit log: {state.directory}")
    typer.echo(f"# meltguard local status{given}")
    typer.echo(f"# meltguard local down{given}")


@app.command()
def down(name: Name = "default") -> None:
    """End a plane; nothing of it runs or listens afterwards."""
    ran = take_down(name)
    typer.echo(f"the plane {name} is down" if ran else f"the plane {name} did not run")


@app.command()
def status(name: Name = "default") -> None:
    """Show every component of a plane; exit code 0 if all are ready, 1 if not."""
    components = look(name)
    if not components:
        typer.echo(f"the plane {name} does not run; `meltguard local up` starts it")
        raise typer.Exit(1)
    Console().print(_table(components))
    if not all(component.ready and component.pid for component in components):
        raise typer.Exit(1)


def _table(components: list[ComponentNow]) -> Table:
    table = Table("component", "pid", "address", "ready", box=None)
    for component in components:
        ready = "yes" if component.ready else "no"
        table.add_row(component.name, str(component.pid or "-"), component.address, ready)
    return table
