"""`kubectl meltguard loans`: what is lent now, read from the nodes themselves."""

import asyncio
from collections.abc import Mapping
from typing import Annotated

import typer

from meltguard.adapters.kubernetes_fleet import NODES
from meltguard.cli.plugin_access import Access, Form, Output, Watch, document
from meltguard.cli.plugin_flags import on_cluster
from meltguard.cli.plugin_text import table
from meltguard.clock import SystemClock, rfc3339
from meltguard.controller.books import write_stopped
from meltguard.controller.policies import changed
from meltguard.controller.recall import Loans, Recall
from meltguard.core.fleet import Claim
from meltguard.core.units import NodeName
from meltguard.core.wording import listed

COLUMNS = ("POOL", "NODE", "STEP", "POLICY", "SINCE", "UNTIL", "STOPPED")
SHOWN = 2
"""Works beyond so many are counted."""


@on_cluster
def loans(
    access: Access,
    pool: Annotated[str | None, typer.Argument(help="A lending GPUPool. Left out: all.")] = None,
    policy: Annotated[str | None, typer.Option(help="Only what is lent to this policy, namespace/name.")] = None,
    output: Output = Form.TABLE,
    watch: Watch = False,
) -> None:
    """What is lent now: by whom, to whom, how far, until when, whose work it stopped; -o wide: why."""

    async def run() -> None:
        async with access.api() as api:
            work = Recall(api=api, clock=SystemClock(), say=typer.echo)
            shown = ""
            told = _formed(await _found(work, pool, policy), output, pool)
            typer.echo(told)
            if not watch:
                return
            async for _ in changed(api, NODES):
                shown, told = told, _formed(await _found(work, pool, policy), output, pool)
                if told != shown:
                    typer.echo(told)

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        typer.echo("", err=True)


async def _found(work: Recall, pool: str | None, policy: str | None) -> Loans:
    claims = await (work.claims() if pool is None else work.loans(pool))
    meant = {name: claim for name, claim in claims.items() if policy in {None, claim.policy}}
    return dict(sorted(meant.items(), key=_by_pool))


def _formed(found: Loans, form: Form, pool: str | None) -> str:
    match form:
        case Form.JSON | Form.YAML:
            return document(form, [_told(name, claim) for name, claim in found.items()])
        case Form.NAME:
            return "\n".join(f"node/{name}" for name in found)
        case Form.TABLE | Form.WIDE:
            if not found:
                return "nothing is lent" if pool is None else f"pool {pool} has lent nothing"
            wide = form is Form.WIDE
            rows = [_row(name, claim) + ((claim.told_why,) if wide else ()) for name, claim in found.items()]
            return "\n".join(table([(*COLUMNS, "WHY") if wide else COLUMNS, *rows]))


def _told(name: NodeName, claim: Claim) -> Mapping[str, object]:
    keys = ("pool", "node", "step", "policy", "since", "until")
    works = [one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in write_stopped(claim.stopped)]
    return {**dict(zip(keys, _row(name, claim)[: len(keys)], strict=True)), "why": claim.told_why, "stopped": works}


def _by_pool(loan: tuple[NodeName, Claim]) -> tuple[str, str]:
    return loan[1].home, loan[0]


def _row(name: NodeName, claim: Claim) -> tuple[str, ...]:
    return claim.home, name, str(claim.step), claim.policy, rfc3339(claim.since), rfc3339(claim.due), _stopped(claim)


def _stopped(claim: Claim) -> str:
    told = [f"{one.work} ({one.hours:.1f} GPU-hours)" for one in claim.stopped]
    return listed(told, SHOWN)
