"""`kubectl meltguard status|why|limits`: what holds now, and why, in the words of the policies' own status."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from meltguard.cli import plugin_text as text
from meltguard.cli.plugin_access import (
    Access,
    AllNamespaces,
    As,
    AsGroup,
    Context,
    Form,
    Kubeconfig,
    Namespace,
    Output,
    Watch,
    document,
)
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


def status(
    name: PolicyName = None,
    namespace: Namespace = None,
    everywhere: AllNamespaces = False,
    output: Output = Form.TABLE,
    watch: Watch = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    as_user: As = "",
    as_group: AsGroup = None,
) -> None:
    """Ok? Doing what? Why? One line a policy; with a name, the whole page."""

    def lines(found: Sequence[Object]) -> list[str]:
        read_ones = [read(body) for body in found]
        if name is not None:
            return [line for policy in read_ones for line in text.page(policy, _now())]
        return text.table([text.STATUS_COLUMNS, *(text.overview(policy, _now()) for policy in read_ones)])

    access = Access(
        namespace=namespace,
        everywhere=everywhere,
        kubeconfig=kubeconfig,
        context=context,
        as_user=as_user,
        as_group=as_group,
    )
    _show(access, View(name=name, form=output, lines=lines), again=watch)


def why(
    name: PolicyName = None,
    history: Annotated[bool, typer.Option(help="Also what changed lately.")] = False,
    namespace: Namespace = None,
    everywhere: AllNamespaces = False,
    output: Output = Form.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    as_user: As = "",
    as_group: AsGroup = None,
) -> None:
    """The last decision: what went into it, each rule's answer, what would unblock it, what is next."""

    def lines(found: Sequence[Object]) -> list[str]:
        return [line for body in found for line in text.why(read(body), _now(), history=history)]

    access = Access(
        namespace=namespace,
        everywhere=everywhere,
        kubeconfig=kubeconfig,
        context=context,
        as_user=as_user,
        as_group=as_group,
    )
    _show(access, View(name=name, form=output, lines=lines), again=False)


def limits(
    name: PolicyName = None,
    namespace: Namespace = None,
    everywhere: AllNamespaces = False,
    output: Output = Form.TABLE,
    watch: Watch = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    as_user: As = "",
    as_group: AsGroup = None,
) -> None:
    """What each tier may have now, since when, why, and with -o wide what lifts it."""
    wide = output is Form.WIDE

    def lines(found: Sequence[Object]) -> list[str]:
        rows = [row for body in found for row in text.limit_rows(read(body), wide=wide)]
        return text.table([text.WIDE_LIMIT_COLUMNS if wide else text.LIMIT_COLUMNS, *rows])

    access = Access(
        namespace=namespace,
        everywhere=everywhere,
        kubeconfig=kubeconfig,
        context=context,
        as_user=as_user,
        as_group=as_group,
    )
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
            return "\n".join(f"imageservicepolicy.meltguard.io/{body['metadata']['name']}" for body in found)
        case Form.TABLE | Form.WIDE:
            return "\n".join(view.lines(found))


def _listed(view: View, found: Sequence[Object]) -> Object:
    """One object by its name, else a List, as kubectl has it; managedFields are nobody's matter."""
    for body in found:
        body["metadata"].pop("managedFields", None)
    if view.name is not None and len(found) == 1:
        return found[0]
    return {"apiVersion": "v1", "kind": "List", "items": list(found)}
