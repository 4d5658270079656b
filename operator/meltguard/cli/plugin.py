"""`kubectl meltguard`: what people ask of Meltguard on any cluster, with kubectl's own flags."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.cli.plain_errors import DID_NOT_WORK, PlainErrors
from meltguard.clock import SystemClock, rfc3339
from meltguard.controller.recall import Recall
from meltguard.core.fleet import Claim
from meltguard.core.units import NodeName, Seconds

app = typer.Typer(
    cls=PlainErrors,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Kubeconfig = Annotated[str | None, typer.Option(help="Kubeconfig, as kubectl takes it.")]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a recall is to do."""

    pool: str
    nodes: tuple[NodeName, ...]
    reason: str
    limit: Seconds | None  # None: do not wait


@app.callback()
def meltguard() -> None:
    """Look at Meltguard's decisions and override them. Exit codes: 0 done, 1 it did not work, 2 the input is wrong."""


@app.command()
def recall(
    pool: Annotated[str, typer.Argument(help="The lending GPUPool.")],
    reason: Annotated[str, typer.Option(help="Why, for the people whose service loses the node.")],
    node: Annotated[list[str] | None, typer.Option(help="A node; may be given several times. None: all loans.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until the nodes are home; 0: do not wait.")] = 600.0,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Call nodes home that a pool has lent. Whoever may patch the GPUPool may recall."""
    names = tuple(NodeName(name) for name in node or ())
    order = Order(pool=pool, nodes=names, reason=reason, limit=Seconds(timeout) if timeout else None)
    raise typer.Exit(asyncio.run(_recall(order, (kubeconfig, context))))


@app.command()
def loans(pool: Annotated[str, typer.Argument(help="The lending GPUPool.")], kubeconfig: Kubeconfig = None) -> None:
    """What a pool has lent now: to whom, how far the move is, when it is promised back."""

    async def read() -> Mapping[NodeName, Claim]:
        async with await KubernetesApi.connect(kubeconfig) as api:
            return await Recall(api=api, clock=SystemClock(), say=typer.echo).loans(pool)

    found = asyncio.run(read())
    if not found:
        typer.echo(f"pool {pool} has lent nothing")
    for name, claim in sorted(found.items()):
        typer.echo(f"{name}  {claim.step}  to {claim.policy}  since {rfc3339(claim.since)}  until {rfc3339(claim.due)}")


async def _recall(order: Order, access: tuple[str | None, str | None]) -> int:
    async with await KubernetesApi.connect(*access) as api:
        work = Recall(api=api, clock=SystemClock(), say=typer.echo)
        meant = await work.order(order.pool, order.nodes, order.reason)
        if not meant:
            typer.echo(f"pool {order.pool} has lent nothing; nothing to recall")
            return 0
        typer.echo(
            f"recalled: {', '.join(f'{name} (lent to {claim.policy})' for name, claim in sorted(meant.items()))}"
        )
        if order.limit is None:
            return 0
        left = await work.watch(order.pool, meant, order.limit)
    if left:
        names = ", ".join(sorted(left))
        typer.echo(f"not home yet: {names}; look at `kubectl describe node` and at the policy's status", err=True)
    return DID_NOT_WORK if left else 0
