"""What the user sees while the demo runs: a live picture on a terminal, one line every three seconds elsewhere."""

from typing import Final, Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from meltguard.core.units import Seconds
from meltguard.demo.tail import TierNow
from meltguard.demo.watch import NodeNow, Picture

PLAIN_EVERY: Final = Seconds(3.0)
COLOURS: Final = {"Normal": "green", "Elevated": "yellow", "Overloaded": "red", "Critical": "bold red"}
WARM, HOT = 72.0, 84.0
"""Degrees from which a GPU is shown as warm and as hot."""


class View(Protocol):
    """Shows pictures."""

    def show(self, phase: str, elapsed: Seconds, picture: Picture) -> None:
        """Show how all looks now; `elapsed` counts from the start of the surge."""
        ...

    def close(self) -> None:
        """Stop showing."""
        ...


def view_on(stream: TextIO, *, headless: bool) -> View:
    """A live picture where there is a terminal to show it on."""
    return PlainView(stream) if headless or not stream.isatty() else LiveView(Console(file=stream))


class PlainView:
    """Lines for a log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._told: Seconds | None = None
        self._phase = ""

    def show(self, phase: str, elapsed: Seconds, picture: Picture) -> None:
        """One line, if the last is old enough or the phase is new."""
        if phase == self._phase and self._told is not None and elapsed - self._told < PLAIN_EVERY:
            return
        self._told, self._phase = elapsed, phase
        print(plain_line(phase, elapsed, picture), file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing is open."""


class LiveView:
    """Tables that change in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._live.start()

    def show(self, phase: str, elapsed: Seconds, picture: Picture) -> None:
        """Draw anew."""
        self._live.update(screen(phase, elapsed, picture), refresh=True)

    def close(self) -> None:
        """Leave the last picture standing."""
        self._live.stop()


def plain_line(phase: str, elapsed: Seconds, picture: Picture) -> str:
    """One moment in one line."""
    status = picture.policy
    serving = (node.hottest for node in picture.nodes if node.serving)
    hottest = max((degrees for degrees in serving if degrees is not None), default=None)
    limits = " ".join(f"{limit.tier}={limit.state}:{limit.rate}" for limit in status.limits)
    lent = " ".join(f"{node.name}:{node.step}" for node in picture.nodes if node.step)
    waits = " ".join(f"{tier.tier}:{tier.wait_p99:.1f}s" for tier in picture.tiers)
    parts = (
        f"[{elapsed:6.1f} s] {phase}",
        f"level {status.level or '?'} (pressure {status.pressure or '?'})",
        f"hottest {hottest:.0f} C" if hottest is not None else "hottest ?",
        f"limits {limits or '?'}, acknowledged {status.acknowledged or '?'}",
        f"wait p99 {waits or '-'}",
        f"loans {picture.loans}{f' ({lent})' if lent else ''}",
        f"why: {status.why or '?'}",
    )
    return " | ".join(parts)


def screen(phase: str, elapsed: Seconds, picture: Picture) -> Group:
    """One moment as tables."""
    status = picture.policy
    level = status.level or "unknown"
    head = Text.assemble(
        (f" {phase} ", "reverse"),
        f"  {elapsed:.0f} s  level ",
        (level, COLOURS.get(level, "dim")),
        f"  pressure {status.pressure or '?'}  limits acknowledged {status.acknowledged or '?'}",
        f"  loans {picture.loans}",
    )
    why = Panel(status.why or "the operator has not said anything yet", title="why (status.why)", title_align="left")
    return Group(head, _nodes(picture.nodes), _tiers(picture), why)


def _nodes(nodes: tuple[NodeNow, ...]) -> Table:
    table = Table(expand=True, title="nodes", title_justify="left")
    for column in ("node", "pool", "home", "move", "images", "research", "GPUs busy", "hottest"):
        table.add_column(column, justify="right" if column in {"GPUs busy", "hottest"} else "left")
    for node in nodes:
        move = Text(f"{node.step}{' (cordoned)' if node.cordoned else ''}", style="cyan" if node.step else "")
        serving = f"{node.serving} pods" if node.serving else "-"
        table.add_row(
            node.name,
            Text(node.pool, style="cyan" if node.pool != node.home else ""),
            node.home,
            move,
            f"{serving}, {node.starting} loading" if node.starting else serving,
            "training" if node.other else "idle" if node.home == "research" and not node.step else "",
            "?" if node.busy is None else f"{node.busy:.0f} %",
            _heat(node.hottest),
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
