"""What the user sees while the demo runs: a live picture on a terminal; elsewhere a line every three seconds.

Both tell each decision as it comes, in the operator's words.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from meltguard.api.policy_status import HistoryEntry, PolicyStatus
from meltguard.clock import parse_rfc3339
from meltguard.core.units import Instant, Seconds
from meltguard.core.wording import counted
from meltguard.demo.tail import TierNow
from meltguard.demo.watch import NodeNow, Picture

PLAIN_EVERY: Final = Seconds(3.0)
COLOURS: Final = {"Normal": "green", "Elevated": "yellow", "Overloaded": "red", "Critical": "bold red"}
WARM, HOT = 72.0, 84.0
"""Degrees from which a GPU is shown as warm and as hot."""


FEWEST, MOST = 3, 10
"""Decisions in the live picture, the newest last: as many as leave the rest its place."""

OTHER_LINES: Final = 32
"""What all else in the live picture takes of a terminal's height."""


class View(Protocol):
    """Shows pictures, and what people type."""

    def show(self, phase: str, elapsed: Seconds, picture: Picture) -> None:
        """Show how all looks now; `elapsed` counts from the start of the surge."""
        ...

    def say(self, text: str) -> None:
        """Let something stand that is no picture."""
        ...

    def close(self) -> None:
        """Stop showing."""
        ...


def view_on(stream: TextIO, surge_at: Instant, *, headless: bool) -> View:
    """A live picture where there is a terminal to show it on."""
    plain = headless or not stream.isatty()
    return PlainView(stream, surge_at) if plain else LiveView(Console(file=stream), surge_at)


class News:
    """Each decision once, as it comes into the policy's history."""

    def __init__(self, surge_at: Instant) -> None:
        self._surge_at = surge_at
        self._known: frozenset[HistoryEntry] = frozenset()
        self.told: list[str] = []  # all so far, the oldest first

    def look(self, status: PolicyStatus) -> list[str]:
        """The new ones, the oldest first."""
        fresh = [entry for entry in reversed(status.history) if entry not in self._known]
        self._known |= frozenset(status.history)
        words = [f"{parse_rfc3339(one.at) - self._surge_at:6.0f} s  {one.reason}: {one.text}" for one in fresh]
        self.told += words
        return words


LEGEND: Final = """
Seconds count from the start of the surge. [...] is how things stand, > a decision of the operator's in its own words,
$ what a person types, * an accident.
"""


class PlainView:
    """Lines for a log."""

    def __init__(self, stream: TextIO, surge_at: Instant) -> None:
        self._stream = stream
        self._news = News(surge_at)
        self._told: Seconds | None = None
        self._phase = ""

    def show(self, phase: str, elapsed: Seconds, picture: Picture) -> None:
        """What was decided, and one line if the last is old enough or the phase is new."""
        if self._told is None:
            self.say(LEGEND)
        for words in self._news.look(picture.policy):
            self.say(f"  > {words}")
        if phase == self._phase and self._told is not None and elapsed - self._told < PLAIN_EVERY:
            return
        self._told, self._phase = elapsed, phase
        self.say(plain_line(phase, elapsed, picture))

    def say(self, text: str) -> None:
        """As it is."""
        print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing is open."""


class LiveView:
    """Tables that change in place."""

    def __init__(self, console: Console, surge_at: Instant) -> None:
        self._news = News(surge_at)
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._live.start()

    def show(self, phase: str, elapsed: Seconds, picture: Picture) -> None:
        """Draw anew."""
        self._news.look(picture.policy)
        shown = max(FEWEST, min(MOST, self._live.console.height - OTHER_LINES))
        self._live.update(screen(phase, elapsed, picture, self._news.told[-shown:]), refresh=True)

    def say(self, text: str) -> None:
        """Above the picture."""
        self._live.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Leave the last picture standing."""
        self._live.stop()


def plain_line(phase: str, elapsed: Seconds, picture: Picture) -> str:
    """One moment in one line."""
    status = picture.policy
    serving = (node.hottest for node in picture.nodes if node.serving)
    hottest = max((degrees for degrees in serving if degrees is not None), default=None)
    limits = ", ".join(f"{limit.tier} {limit.state} {limit.rate}" for limit in status.limits if limit.state != "Open")
    lent = ", ".join(f"{node.name} {node.step}" for node in picture.nodes if node.step)
    waits = ", ".join(f"{tier.tier} {tier.wait_p99:.1f} s" for tier in picture.tiers)
    parts = (
        f"[{elapsed:6.1f} s] {phase}",
        f"level {status.level or '?'}, pressure {status.pressure or '?'}",
        f"hottest GPU {hottest:.0f} C" if hottest is not None else "hottest GPU ?",
        f"limits: {limits or 'none'}, acknowledged by {status.acknowledged or '?'} pods",
        *_measures(status),
        f"waits p99: {waits or '-'}",
        f"loans: {lent or 'none'}",
        f"why: {(status.why or '?').split(';')[0]}",
    )
    return " | ".join(parts)


def _measures(status: PolicyStatus) -> Iterator[str]:
    """What holds beside the tiers' limits: features, updates, a person's words."""
    yield from (f"feature {one.name} {one.rollout}" for one in status.features)
    if status.rollouts is not None:
        yield f"updates {status.rollouts.state}"
    for word in status.overrides:
        yield f"override {word.sets} until {word.until[11:]}" + (f" by {word.by}" if word.by else "")


def screen(phase: str, elapsed: Seconds, picture: Picture, decided: Sequence[str] = ()) -> Group:
    """One moment as tables, and what was decided lately."""
    status = picture.policy
    level = status.level or "unknown"
    head = Text.assemble(
        (f" {phase} ", "reverse"),
        f"  {elapsed:.0f} s  level ",
        (level, COLOURS.get(level, "dim")),
        f"  pressure {status.pressure or '?'}  limits acknowledged {status.acknowledged or '?'}",
        f"  loans {picture.loans}",
    )
    measures = Text(" " + (" | ".join(_measures(status)) or "no feature is rolled out, no update is held"))
    why = Panel(status.why or "the operator has not said anything yet", title="why (status.why)", title_align="left")
    return Group(head, why, _tiers(picture), measures, _decided(decided), _nodes(picture.nodes))


def _decided(decided: Sequence[str]) -> Panel:
    """One line a decision: what does not fit is in the status, and in the report."""
    lines = [Text(one, no_wrap=True, overflow="ellipsis") for one in decided]
    title = "decided lately (status.history; seconds from the start of the surge)"
    return Panel(Group(*(lines or [Text("nothing has changed yet", style="dim")])), title=title, title_align="left")


def _nodes(nodes: tuple[NodeNow, ...]) -> Table:
    table = Table(expand=True, title="nodes", title_justify="left")
    for column in ("node", "pool", "home", "move", "images", "research", "GPUs busy", "hottest", "counts for"):
        table.add_column(column, justify="right" if column in {"GPUs busy", "hottest", "counts for"} else "left")
    for node in nodes:
        move = Text(f"{node.step}{' (cordoned)' if node.cordoned else ''}", style="cyan" if node.step else "")
        serving = counted(node.serving, "pod") if node.serving else "-"
        table.add_row(
            node.name,
            Text(node.pool, style="cyan" if node.pool != node.home else ""),
            node.home,
            move,
            f"{serving}, {node.starting} loading" if node.starting else serving,
            "training" if node.other else "idle" if node.home == "research" and not node.step else "",
            "?" if node.busy is None else f"{node.busy:.0f} %",
            _heat(node.hottest),
            "" if node.counted is None else Text(f"{node.counted:.0%}", style="" if node.counted == 1.0 else "yellow"),
        )
    return table


def _heat(degrees: float | None) -> Text:
    if degrees is None:
        return Text("?")
    style = "red" if degrees >= HOT else "yellow" if degrees >= WARM else ""
    return Text(f"{degrees:.0f} C", style=style)


def _tiers(picture: Picture) -> Table:
    table = Table(expand=True, title="tiers (last 10 s)", title_justify="left")
    for column in ("tier", "state", "limit", "demand", "admitted", "refused", "mostly for", "wait p50", "wait p99"):
        table.add_column(column)
    now = {tier.tier: tier for tier in picture.tiers}
    for limit in picture.policy.limits:
        style = "" if limit.state == "Open" else "red"
        measured = _measured(now.get(limit.tier))
        table.add_row(limit.tier, Text(str(limit.state), style=style), limit.rate, limit.demand or "", *measured)
    return table


def _measured(tier: TierNow | None) -> tuple[str, ...]:
    if tier is None:
        return ("", "", "", "", "")
    return (
        f"{tier.admitted:.1f}/s",
        f"{tier.refused:.1f}/s",
        tier.reason,
        f"{tier.wait_p50:.2f} s",
        f"{tier.wait_p99:.2f} s",
    )
