"""What `meltguard rehearse` prints: who stands where, what happened and why, and what it came to."""

from collections.abc import Iterator, Sequence
from typing import Final, TextIO

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from meltguard.clock import rfc3339
from meltguard.controller.events import Reason
from meltguard.core.policy import Level, Pool
from meltguard.rehearse.figures import Figures
from meltguard.rehearse.rehearsal import Plan, Rehearsal, own_rate, pool_plan
from meltguard.rehearse.story import Told

WIDTH: Final = 140
"""Letters a line where no terminal tells its width."""

MOST_LINES: Final = 60
LAST_LINES: Final = 15
"""Of a story that is longer than MOST_LINES, so many of its end are printed."""

COLOURS: Final = {
    Level.NORMAL: "green",
    Level.ELEVATED: "yellow",
    Level.OVERLOADED: "dark_orange",
    Level.CRITICAL: "red",
}
ACTS: Final = {
    Reason.LEVEL_CHANGED: "level",
    Reason.TIER_LIMITED: "limit",
    Reason.TIER_LIFTED: "lift",
    Reason.FEATURE_SLOWED: "slow feature",
    Reason.FEATURE_RESTORED: "restore feature",
    Reason.NODE_BORROWED: "borrow",
    Reason.DRAIN_BEGUN: "drain",
    Reason.DRAIN_BLOCKED: "drain blocked",
    Reason.NODE_LENT: "lent",
    Reason.NODE_RECALLED: "return",
    Reason.NODE_RETURNED: "home",
    Reason.MOVE_UNDONE: "move undone",
    Reason.BORROWING_REFUSED: "no loan",
}
"""A word each; what is not here keeps its Event's reason."""


def printed(rehearsals: Sequence[tuple[Rehearsal, Figures]], console: Console) -> None:
    """One rehearsal with its story; of several, a table that sets them side by side."""
    (first, figures), *others = rehearsals
    console.print(_introduction(first.plan))
    if others:
        for rehearsal, _ in others:
            console.print(_notes(rehearsal.plan))
    else:
        console.print(_story(first))
        console.print(_requests(figures, "requests by tier"))
    console.print(side_by_side(rehearsals))


def span(seconds: float | None) -> str:
    """A time since the start.

    >>> span(3725.4), span(None)
    ('1:02:05', 'never')
    """
    if seconds is None:
        return "never"
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


def _introduction(plan: Plan) -> RenderableType:
    surge = plan.surge
    does, most = own_rate(plan.manifests, plan.fleet), surge.peak
    table = Table.grid(padding=(0, 1), collapse_padding=True)
    table.title = f"Rehearsal of policy {escape(plan.policy.key)}: nothing is applied anywhere (seed {plan.seed})"
    table.title_justify = "left"
    table.add_column(no_wrap=True)
    table.add_column()
    length = f"{span(surge.until)} from {rfc3339(surge.dawn)} on"
    peak = f"up to {most:.2f} requests a second, {most / does:.1f} times the {does:.2f} that its GPUs do"
    table.add_row("surge", escape(f"{surge.source}; {length}; {peak}"))
    table.add_row("service", escape(_pool_words(plan, plan.taker)))
    for pool in (one.pool for one in plan.manifests.pools if one.pool.name != plan.taker.name):
        table.add_row("lender" if pool.lending else "pool", escape(_pool_words(plan, pool)))
    each = plan.gpus_a_pod // plan.manifests.policy.policy.gpus_per_pod
    if each > 1:
        table.add_row("model", f"{each} serving pods of a node are simulated as one (--exact keeps them apart: slower)")
    for note in plan.manifests.notes:
        table.add_row("note", escape(note))
    return table


def _notes(plan: Plan) -> RenderableType:
    """What is taken otherwise than written, of a policy that stands beside the first."""
    table = Table.grid(padding=(0, 1), collapse_padding=True)
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_row("beside", escape(f"policy {plan.policy.key} of {plan.manifests.name}"))
    for note in plan.manifests.notes:
        table.add_row("note", escape(note))
    return table


def _pool_words(plan: Plan, pool: Pool) -> str:
    here = pool_plan(plan.fleet, pool.name)
    said = f"pool {pool.name}: {here.nodes} nodes of {here.gpus} GPUs"
    if pool.lending is not None and pool.name != plan.taker.name:
        floor = pool.lending.floor or f"{pool.lending.floor_share:.0%}"
        busy = "busy nodes too" if pool.lending.eviction is not None else "idle nodes only"
        said += f"; lends at most {pool.lending.max_loans}, {busy}, and keeps {floor}"
    if here.work:
        said += "; at work: " + ", ".join(f"{one.name} on {one.nodes}" for one in here.work)
    return said


def _story(rehearsal: Rehearsal) -> Table:
    table = Table(
        title="What happened, in the operator's own words (hours:minutes:seconds from the start)", title_justify="left"
    )
    table.add_column("at", justify="right", no_wrap=True)
    table.add_column("level", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("why", ratio=1)
    for one in _shortened(rehearsal.told):
        if one is None:
            left = len(rehearsal.told) - MOST_LINES
            table.add_row("", "", "...", f"{left} more; -o json has all of them")
            continue
        level = f"[{COLOURS[one.level]}]{one.level.label}[/]"
        table.add_row(span(one.at), level, ACTS.get(one.reason, one.reason.value), escape(one.text))
    if not rehearsal.told:
        table.add_row("", "", "nothing", "the service stayed calm: no level, limit or loan changed")
    return table


def _shortened(told: Sequence[Told]) -> Iterator[Told | None]:
    """All of it, or its beginning and its end; None stands for what is left out."""
    if len(told) <= MOST_LINES:
        yield from told
        return
    yield from told[: MOST_LINES - LAST_LINES]
    yield None
    yield from told[-LAST_LINES:]


def _requests(figures: Figures, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("tier")
    for column in ("asked", "served", "shed", "shed %", "images made", "wait p50", "wait p99"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in figures.tiers:
        counts = (one.asked, one.served, one.shed)
        waits = (f"{one.p50:.1f} s", f"{one.p99:.1f} s")
        table.add_row(one.tier, *map(str, counts), f"{one.shed_share:.1%}", str(one.images), *waits)
    return table


def side_by_side(rehearsals: Sequence[tuple[Rehearsal, Figures]]) -> Table:
    """What policies came to, one in a column; of several, with what their tiers got."""
    table = Table(title="What it came to", title_justify="left")
    table.add_column("")
    for rehearsal, _ in rehearsals:
        table.add_column(rehearsal.plan.manifests.name, justify="right")
    columns = [dict(_rows(figures, with_tiers=len(rehearsals) > 1)) for _, figures in rehearsals]
    for name in dict.fromkeys(name for column in columns for name in column):
        table.add_row(name, *(column.get(name, "-") for column in columns))
    return table


def _rows(figures: Figures, *, with_tiers: bool) -> Iterator[tuple[str, str]]:
    for one in figures.tiers if with_tiers else ():
        yield f"{one.tier}: served of asked", f"{one.served} of {one.asked}"
        yield f"{one.tier}: shed", f"{one.shed_share:.1%}"
        yield f"{one.tier}: wait p50 / p99", f"{one.p50:.1f} / {one.p99:.1f} s"
        yield f"{one.tier}: images made", str(one.images)
    yield "worst level", figures.worst_level
    yield "first limit after", span(figures.first_limit)
    yield "first node claimed after", span(figures.first_loan)
    yield "first node open for the service after", span(figures.first_lent)
    yield "loans, and most nodes at once", f"{figures.loans}, {figures.most_lent}"
    yield "borrowed", f"{figures.borrowed:.1f} GPU-hours"
    yield "lenders' Jobs broken off", str(figures.broken_off)
    yield "lenders' unsaved work lost", f"{figures.work_lost:.2f} GPU-hours"
    yield "nodes not home at the end", str(figures.not_home)
    yield "limits that turned within a minute", str(figures.turns)


def outcome(name: str, broken: Sequence[str], console: Console) -> None:
    """What `--fail-if` named and happened all the same."""
    for text in broken:
        console.print(f"[red]failed[/red]  {escape(name)}: {escape(text)}", soft_wrap=True)


def console_for(stream: TextIO) -> Console:
    """As wide as the terminal; where there is none, wide enough for sentences in columns."""
    return Console(file=stream, highlight=False, width=None if stream.isatty() else WIDTH)
