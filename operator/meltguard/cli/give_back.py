"""`meltguard return`: nodes come home without the operator."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from meltguard.adapters.kubernetes_lease import LeaseName
from meltguard.cli.plugin_access import Access
from meltguard.cli.plugin_flags import on_cluster
from meltguard.clock import SystemClock
from meltguard.controller.give_back import GiveBack
from meltguard.controller.settings import load_keys
from meltguard.core.units import NodeName, Seconds
from meltguard.errors import InvalidInput


@on_cluster
def give_back(
    access: Access,
    nodes: Annotated[list[str] | None, typer.Argument(help="Nodes to bring home.")] = None,
    all_nodes: Annotated[bool, typer.Option("--all", help="All lent nodes; also releases agents and objects.")] = False,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="The operator's namespace.")] = "meltguard-system",
    lease: Annotated[str, typer.Option(help="The operator's Lease.")] = "meltguard",
    signing_keys: Annotated[Path | None, typer.Option(help="Signing keys, to release the agents.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that nodes may take.")] = 240.0,
) -> None:
    """Bring lent nodes home. The operator is fenced off meanwhile; it needs the break-glass role."""
    if bool(nodes) == all_nodes:
        raise InvalidInput("name nodes, or say --all for every lent node; one of the two")
    key = load_keys(signing_keys)[0] if signing_keys and all_nodes else None

    async def run() -> int:
        async with access.api() as api:
            work = GiveBack(
                api=api,
                clock=SystemClock(),
                lease=LeaseName(namespace=namespace, name=lease),
                limit=Seconds(timeout),
                say=typer.echo,
            )
            left = await work.bring_home([NodeName(name) for name in nodes or []])
            await (work.release_services(key) if all_nodes else work.hand_back())
        for name in left:
            typer.echo(f"{name} is not home after {timeout:.0f} s; look at its pods and run this again", err=True)
        return 1 if left else 0

    raise typer.Exit(asyncio.run(run()))
