"""`kubectl meltguard`: what people ask of Meltguard on any cluster, with kubectl's own flags."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from meltguard.cli import plugin_look, plugin_orders
from meltguard.cli.give_back import give_back
from meltguard.cli.plain_errors import DID_NOT_WORK, PlainErrors
from meltguard.cli.plugin_access import Access, DryRun, Try
from meltguard.cli.plugin_flags import on_cluster
from meltguard.cli.plugin_loans import loans
from meltguard.clock import SystemClock, rfc3339
from meltguard.controller.recall import Loans, Recall
from meltguard.core.fleet import Claim
from meltguard.core.units import NodeName, Seconds
from meltguard.errors import InvalidInput

app = typer.Typer(
    cls=PlainErrors,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a recall is to do."""

    pool: str
    nodes: tuple[NodeName, ...]
    reason: str
    limit: Seconds | None  # None: do not wait
    dry_run: DryRun


@app.callback()
def meltguard() -> None:
    """Look at Meltguard's decisions and override them. Exit codes: 0 done, 1 it did not work, 2 the input is wrong."""


app.command()(plugin_look.status)
app.command()(plugin_look.why)
app.command()(plugin_look.limits)
app.command()(loans)
app.command()(plugin_orders.override)
app.command()(plugin_orders.pause)
app.command()(plugin_orders.resume)
app.command("return")(give_back)


@app.command()
@on_cluster
def recall(
    access: Access,
    pool: Annotated[str, typer.Argument(help="The lending GPUPool.")],
    reason: Annotated[str, typer.Option(help="Why, for the people whose service loses the node.")],
    node: Annotated[list[str] | None, typer.Option(help="A node; may be given several times. None: all loans.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until the nodes are home; 0: do not wait.")] = 600.0,
    dry_run: Try = DryRun.NONE,
) -> None:
    """Call nodes home that a pool has lent. Whoever may patch the GPUPool may recall."""
    names = tuple(NodeName(name) for name in node or ())
    order = Order(pool=pool, nodes=names, reason=reason, limit=Seconds(timeout) if timeout else None, dry_run=dry_run)
    raise typer.Exit(asyncio.run(_recall(order, access)))


async def _recall(order: Order, access: Access) -> int:
    async with access.api() as api:
        work = Recall(api=api, clock=SystemClock(), say=typer.echo)
        lent = await work.loans(order.pool)
        meant = _meant(order, lent)
        if not meant:
            typer.echo(f"pool {order.pool} has lent nothing; nothing to recall")
            return 0
        typer.echo(f"to recall: {', '.join(f'{name} (lent to {claim.policy})' for name, claim in meant.items())}")
        if order.dry_run is DryRun.SERVER:
            typer.echo("nothing was ordered (dry run)")
            return 0
        await work.order(order.pool, meant.keys(), order.reason)
        typer.echo("ordered")
        if order.limit is None:
            return 0
        left = await work.watch(meant, order.limit)
    if left:
        names = ", ".join(f"{name} ({claim.step}, by {rfc3339(claim.step_deadline)})" for name, claim in left.items())
        typer.echo(
            f"not home yet: {names}. The order stands without this command; what holds a node is said by "
            "`kubectl describe node`, and in the Events and the status of the policy that it is lent to",
            err=True,
        )
    return DID_NOT_WORK if left else 0


def _meant(order: Order, lent: Loans) -> Mapping[NodeName, Claim]:
    """The loans that an order is about; InvalidInput where it names a node that is not on loan."""
    strangers = [name for name in order.nodes if name not in lent]
    if strangers:
        there = ", ".join(sorted(lent)) or "nothing"
        raise InvalidInput(f"{', '.join(strangers)}: not on loan from pool {order.pool}; on loan is {there}")
    return {name: claim for name, claim in sorted(lent.items()) if not order.nodes or name in order.nodes}
