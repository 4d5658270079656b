"""`kubectl meltguard status|why|limits`: what holds now, and why, in the words of the policies' own status."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from meltguard.cli import plugin_text as text
from meltguard.cli.plugin_access import (
    Access,
    Form,
    Output,
    Watch,
    document,
    object_name,
    without_managed_fields,
)
from meltguard.cli.plugin_flags import on_policies
from meltguard.clock import SystemClock
from meltguard.controller.policies import Object, Policies, read
from meltguard.core.units import Instant

PolicyName = Annotated[str | None, typer.Argument(help="An ImageServicePolicy. Left out: all.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What to print of which policies."""

    name: str | None
    form: Form
    lines: Callable[[Sequence[Object]], list[str]]


@on_policies
def status(access: Access, name: PolicyName = None, output: Output = Form.TABLE, watch: Watch = False) -> None:
    """Ok? Doing what? Why? One line a policy; with a name, the whole page. -o wide: pressure, demand, capacity."""
    wide = output is Form.WIDE

    def lines(found: Sequence[Object]) -> list[str]:
        read_ones = [read(body) for body in found]
        if name is not None and not wide:
            return [line for policy in read_ones for line in text.page(policy, _now())]
        columns = text.WIDE_STATUS_COLUMNS if wide else text.STATUS_COLUMNS
        return text.table([columns, *(text.overview(policy, _now(), wide=wide) for policy in read_ones)])

    _show(access, View(name=name, form=output, lines=lines), again=watch)


@on_policies
def why(
    access: Access,
    name: PolicyName = None,
    history: Annotated[bool, typer.Option(help="Also what changed lately; so does -o wide.")] = False,
    output: Output = Form.TABLE,
    watch: Watch = False,
) -> None:
    """The last decision: what went into it, what holds, each rule's answer, what would unblock it, what is next."""
    told = history or output is Form.WIDE

    def lines(found: Sequence[Object]) -> list[str]:
        return [line for body in found for line in text.why(read(body), _now(), history=told)]

    _show(access, View(name=name, form=output, lines=lines), again=watch)


@on_policies
def limits(access: Access, name: PolicyName = None, output: Output = Form.TABLE, watch: Watch = False) -> None:
    """What each tier may have now, since when, why, and with -o wide what lifts it."""
    wide = output is Form.WIDE

    def lines(found: Sequence[Object]) -> list[str]:
        rows = [row for body in found for row in text.limit_rows(read(body), wide=wide)]
        return text.table([text.WIDE_LIMIT_COLUMNS if wide else text.LIMIT_COLUMNS, *rows])

    _show(access, View(name=name, form=output, lines=lines), again=watch)


def _now() -> Instant:
    return SystemClock().now()


def _show(access: Access, view: View, *, again: bool) -> None:
    async def run() -> None:
        async with access.policies() as policies:
            shown = await _print(policies, view, "")
            if again:
                async for _ in policies.changed():
                    shown = await _print(policies, view, shown)

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        typer.echo("", err=True)


async def _print(policies: Policies, view: View, before: str) -> str:
    """What was printed; nothing is where it would be the same again."""
    found = await policies.bodies(view.name)
    told = _formed(view, found) if found else "there is no ImageServicePolicy here; look with -A"
    if told != before:
        typer.echo(told)
    return told


def _formed(view: View, found: Sequence[Object]) -> str:
    match view.form:
        case Form.JSON | Form.YAML:
            return document(view.form, _listed(view, found))
        case Form.NAME:
            return "\n".join(map(object_name, found))
        case Form.TABLE | Form.WIDE:
            return "\n".join(view.lines(found))


def _listed(view: View, found: Sequence[Object]) -> Object:
    """One object by its name, else a List, as kubectl has it."""
    shown = [without_managed_fields(body) for body in found]
    if view.name is not None and len(shown) == 1:
        return shown[0]
    return {"apiVersion": "v1", "kind": "List", "items": shown}
