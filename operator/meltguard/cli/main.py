"""`meltguard`: the subcommands, each imported when it is called, and the exit codes of our errors.

Late imports are a promise, not a trick: an agent in a pod never loads Kopf or a Kubernetes client.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typing_extensions import override

from meltguard import __version__
from meltguard.cli.plain_errors import PlainErrors


@dataclass(frozen=True, slots=True)
class Place:
    """Where a subcommand is: a function, or a Typer application with commands of its own."""

    module: str
    attribute: str
    summary: str  # as its own help begins; shown without importing it


COMMANDS: Final = {
    "demo": Place("demo", "demo", "Show the operator lend a node and limit a tier on a real control plane."),
    "rehearse": Place("rehearse", "rehearse", "Rehearse a policy on a recorded surge, before it is applied."),
    "local": Place("local", "app", "A real control plane as processes on loopback (Linux)."),
    "operator": Place("operator", "operator", "Run the operator until it is told to stop or loses the Lease."),
    "agent": Place("agent", "agent", "Admit, queue or refuse requests before an image server"),
    "keys": Place("keys", "app", "Signing keys: make one, print the public ones."),
    "return": Place("give_back", "give_back", "Bring lent nodes home."),
    "generate": Place(
        "generate", "generate", "Write the CRDs, the dashboard and the alert rules, each with its copy in the chart."
    ),
}


def load(name: str) -> TyperCommand | TyperGroup:
    """Import a subcommand."""
    place = COMMANDS[name]
    found = getattr(import_module(f"meltguard.cli.{place.module}"), place.attribute)
    holder = typer.Typer()
    holder.callback()(lambda: None)  # keeps a single command from becoming the whole application
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name)
    else:
        holder.command(name)(found)
    group: Any = typer.main.get_command(holder)
    loaded: TyperCommand | TyperGroup = group.commands[name]
    return loaded


class LateGroup(PlainErrors):
    """Knows its subcommands by name and summary, imports the one that is called, and ends on our errors in one line."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name=name, help=place.summary) for name, place in COMMANDS.items()}

    @override
    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The subcommand itself in place of its summary."""
        name, summary, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else summary, rest


app = typer.Typer(
    cls=LateGroup,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # they may hold keys
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"meltguard {__version__}")
        raise typer.Exit


@app.callback()
def meltguard(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    """Keep an image-generation service alive through a surge: limits by tier, GPU nodes borrowed and given back.

    Exit codes: 0 done, 1 it did not work (trying again may help), 2 the input is wrong.
    """
    del version
