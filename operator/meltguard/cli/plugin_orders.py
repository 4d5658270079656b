"""`kubectl meltguard override|pause|resume`: a person's word above the law, with a reason, until a time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from meltguard.api.levels import LevelName
from meltguard.api.quantities import parse_duration, parse_instant
from meltguard.cli.plugin_access import (
    Access,
    DryRun,
    Form,
    Output,
    Try,
    document,
    object_name,
    without_managed_fields,
)
from meltguard.cli.plugin_flags import on_namespace
from meltguard.cli.plugin_text import OVERRIDE_COLUMNS, override_rows, table
from meltguard.clock import SystemClock, rfc3339
from meltguard.controller.policies import Object, paused, read, resumed
from meltguard.core.policy import TierState
from meltguard.core.units import Instant
from meltguard.errors import InvalidInput

LONGEST_NAME: Final = 128  # characters of who set an override that the resource takes
PolicyName = Annotated[str, typer.Argument(help="The ImageServicePolicy.")]
MOST: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a person sets."""

    tier: str | None
    level: LevelName | None
    state: TierState | None
    limit: str | None

    @property
    def body(self) -> Object:
        """As spec.overrides has it."""
        said = {"tier": self.tier, "level": self.level, "state": self.state, "limit": self.limit}
        return {key: str(value) for key, value in said.items() if value is not None}

    def is_about(self, override: Object) -> bool:
        """Whether another override sets the same: this tier, or the level."""
        return override.get("tier") == self.tier and bool(override.get("level")) == bool(self.level)


@dataclass(frozen=True, slots=True)
class Order:
    """A change of one policy, and how it is told."""

    access: Access
    name: str
    output: Form
    dry_run: DryRun

    def edit(self, change: Callable[[Object], Object], told: str) -> None:
        """Make it, or only try it, and say what the policy is then."""
        query = {"dryRun": "All"} if self.dry_run is DryRun.SERVER else None

        async def run() -> Object:
            async with self.access.policies() as policies:
                return await policies.edit(self.name, change, query)

        typer.echo(self._formed(asyncio.run(run()), told))

    def _formed(self, body: Object, told: str) -> str:
        match self.output:
            case Form.JSON | Form.YAML:
                return document(self.output, without_managed_fields(body))
            case Form.NAME:
                return object_name(body)
            case Form.TABLE | Form.WIDE:
                written = read(body)
                tried = " (dry run: nothing was kept)" if self.dry_run is DryRun.SERVER else ""
                where = f"{written.metadata.namespace}/{written.metadata.name}"
                return f"{where}: {told} (mode {written.spec.mode}){tried}"


@on_namespace
def override(
    access: Access,
    name: PolicyName,
    tier: Annotated[str | None, typer.Option(help="The tier whose state or limit is set.")] = None,
    state: Annotated[TierState | None, typer.Option(help="State of the tier.", case_sensitive=False)] = None,
    limit: Annotated[str | None, typer.Option(help="Image units over time for the whole tier, such as 40/m.")] = None,
    level: Annotated[LevelName | None, typer.Option(help="Level of the service.", case_sensitive=False)] = None,
    lasts: Annotated[str | None, typer.Option("--for", help="How long, such as 30m or 2h.")] = None,
    until: Annotated[str | None, typer.Option(help="Until when, RFC 3339. One of --for and --until.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why, for those who find it.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the override of this tier (or level) away.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="Only show the overrides, those that are over too.")] = False,
    output: Output = Form.TABLE,
    dry_run: Try = DryRun.NONE,
) -> None:
    """Set a tier's state or limit, or the level, above the law, until a time. It ends by itself."""
    word, order = Word(tier=tier, level=level, state=state, limit=limit), Order(access, name, output, dry_run)
    if listed:
        _list(order)
        return
    if remove:
        if not (tier or level):
            raise InvalidInput("say which override to remove: --tier NAME, or --level with any level")
        order.edit(lambda body: _without(body, word), "the law decides again")
        return
    if not word.body.keys() - {"tier"}:
        raise InvalidInput("say what to set: --state or --limit with --tier, or --level")
    if not reason:
        raise InvalidInput("give --reason: whoever finds the override must know why it is there")
    ends = _ends(lasts, until)
    told = {**word.body, "until": rfc3339(ends), "reason": reason}
    by_whom = _who(access)[:LONGEST_NAME]
    order.edit(lambda body: _with(body, word, {**told, "by": by_whom}), f"holds until {rfc3339(ends)}")


@on_namespace
def pause(
    access: Access,
    name: PolicyName,
    reason: Annotated[str, typer.Option(help="Why, for those who find it.")],
    output: Output = Form.TABLE,
    dry_run: Try = DryRun.NONE,
) -> None:
    """Renew what holds, start nothing new: limits stay, no node is borrowed, open moves end."""
    why = f"{reason} ({_who(access)})"
    told = "paused; kubectl meltguard resume ends it"
    Order(access, name, output, dry_run).edit(lambda body: paused(body, why), told)


@on_namespace
def resume(
    access: Access,
    name: PolicyName,
    output: Output = Form.TABLE,
    dry_run: Try = DryRun.NONE,
) -> None:
    """Give a paused policy the mode that it had."""
    Order(access, name, output, dry_run).edit(resumed, "resumed")


def _who(access: Access) -> str:
    """Whoever asks, as the API server knows them."""

    async def run() -> str:
        async with access.policies() as policies:
            return await policies.who()

    return asyncio.run(run())


def _list(order: Order) -> None:
    async def run() -> Object:
        async with order.access.policies() as policies:
            return await policies.one(order.name)

    body = asyncio.run(run())
    rows = override_rows(read(body), SystemClock().now())
    match order.output:
        case Form.JSON | Form.YAML:
            typer.echo(document(order.output, body["spec"].get("overrides", [])))
        case Form.NAME:
            typer.echo("\n".join(sets for sets, *_ in rows))
        case Form.TABLE | Form.WIDE:
            typer.echo("\n".join(table([OVERRIDE_COLUMNS, *rows]) if rows else [f"{order.name} has no override"]))


def _ends(lasts: str | None, until: str | None) -> Instant:
    if (lasts is None) == (until is None):
        raise InvalidInput("give one of --for and --until: an override must end by itself")
    now = SystemClock().now()
    ends = Instant(now + parse_duration(lasts)) if lasts is not None else parse_instant(until or "")
    if ends <= now:
        raise InvalidInput(f"{rfc3339(ends)} is over: give a time that is still to come")
    return ends


def _with(body: Object, word: Word, told: Object) -> Object:
    kept = [one for one in body["spec"].get("overrides", []) if not word.is_about(one)]
    if len(kept) >= MOST:
        raise InvalidInput(f"there are {len(kept)} overrides, {MOST} at most: take one away with --remove")
    return {"spec": {"overrides": [*kept, told]}}


def _without(body: Object, word: Word) -> Object:
    before = body["spec"].get("overrides", [])
    kept = [one for one in before if not word.is_about(one)]
    if len(kept) == len(before):
        what = f"tier {word.tier}" if word.tier else "the level"
        raise InvalidInput(f"there is no override of {what} on {body['metadata']['name']}")
    return {"spec": {"overrides": kept}}
