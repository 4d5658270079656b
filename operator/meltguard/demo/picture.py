"""The story in one picture: what was asked for and admitted, waits, heat, limits, and who had the nodes."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from meltguard.agent.journal import JournalEntry
from meltguard.api.quantities import RATE, is_written, parse_rate
from meltguard.core.units import Instant, Seconds
from meltguard.demo.plan import FREE, PLUS, PRO
from meltguard.demo.watch import Picture

TIERS: Final[Mapping[str, str]] = {PRO: "#1b7837", PLUS: "#5aae61", FREE: "#2166ac"}
REFUSED: Final = "#d6604d"
LEVELS: Final = {"Normal": "#ffffff", "Elevated": "#fff3d6", "Overloaded": "#ffe0c2", "Critical": "#fbc9c0"}
BIN: Final = 2.0
"""Seconds that requests are counted over."""

WARM: Final = 84.0
"""Degrees from which the policy presses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something worth a line across the picture."""

    at: float  # seconds since the surge began
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What is drawn. Times are seconds since the surge began."""

    title: str
    surge_at: Instant
    album: Sequence[tuple[Seconds, Picture]]
    entries: Sequence[JournalEntry]
    events: Sequence[Event]


def draw(story: Story, path: Path) -> None:
    """Write the picture as PNG."""
    figure = Figure(figsize=(14.0, 16.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Sequence[Axes] = figure.subplots(5, 1, sharex=True, height_ratios=[3, 2, 2, 2, 2])
    for axis, panel in zip(axes, (_requests, _waits, _heat, _limits, _nodes), strict=True):
        panel(axis, story)
        _levels(axis, story)
        _events(axis, story)
        axis.margins(x=0.0)
        axis.grid(visible=True, alpha=0.25)
    _numbers(axes[0], story)
    axes[-1].set_xlabel("seconds since the surge began (background: level Elevated, Overloaded, Critical)")
    figure.suptitle(story.title, fontsize=14)
    figure.text(0.01, -0.005, _legend(story.events), fontsize=10, va="top", family="monospace")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, bbox_inches="tight")


def _requests(axis: Axes, story: Story) -> None:
    """Admitted requests by tier on top of one another, and the line of all that were sent."""
    offered = _a_second(entry.at - story.surge_at for entry in story.entries)
    by_tier = {
        tier: _a_second(
            entry.at + entry.wait - story.surge_at
            for entry in story.entries
            if entry.verdict == "admitted" and entry.tier == tier
        )
        for tier in TIERS
    }
    times = sorted(offered)
    axis.stackplot(
        times,
        *([rates.get(at, 0.0) for at in times] for rates in by_tier.values()),
        labels=[f"{tier} admitted" for tier in TIERS],
        colors=list(TIERS.values()),
        alpha=0.8,
        step="post",
    )
    axis.step(times, [offered[at] for at in times], where="post", color="black", linewidth=1.2, label="asked for")
    axis.set_ylabel("requests a second")
    axis.legend(loc="upper right", ncols=2)


def _a_second(times: Iterator[float]) -> dict[float, float]:
    counted = Counter(at // BIN * BIN for at in times)
    return {at: count / BIN for at, count in counted.items()}


def _waits(axis: Axes, story: Story) -> None:
    for tier, colour in TIERS.items():
        seen = [(at, now.wait_p99) for at, picture in story.album for now in picture.tiers if now.tier == tier]
        axis.plot([at for at, _ in seen], [wait for _, wait in seen], color=colour, label=tier)
    axis.set_ylabel("wait p99\n(seconds)")
    axis.legend(loc="upper right", ncols=3)


def _heat(axis: Axes, story: Story) -> None:
    """Of the nodes that serve."""
    hottest = [(at, [n.hottest for n in picture.nodes if n.serving and n.hottest]) for at, picture in story.album]
    seen = [(at, max(degrees)) for at, degrees in hottest if degrees]
    axis.plot([at for at, _ in seen], [degrees for _, degrees in seen], color="#b2182b", label="hottest GPU")
    axis.axhline(WARM, color="#b2182b", linestyle=":", linewidth=1.0)
    axis.set_ylabel("hottest GPU\n(Celsius)")
    busy = [(at, [n.busy for n in picture.nodes if n.serving and n.busy is not None]) for at, picture in story.album]
    used = [(at, sum(shares) / len(shares)) for at, shares in busy if shares]
    other = axis.twinx()
    other.plot([at for at, _ in used], [share for _, share in used], color="#737373", linewidth=1.0, label="GPUs busy")
    other.set_ylabel("GPUs busy (%)")
    other.set_ylim(0.0, 105.0)


def _limits(axis: Axes, story: Story) -> None:
    """Image units a minute; no line where a tier is open."""
    for tier, colour in TIERS.items():
        told = [(at, _rate(picture, tier)) for at, picture in story.album]
        axis.plot(
            [at for at, _ in told], [rate for _, rate in told], color=colour, label=f"{tier} limit", linewidth=2.0
        )
    asked = [(at, _demand(picture)) for at, picture in story.album]
    axis.plot([at for at, _ in asked], [rate for _, rate in asked], color="black", linewidth=0.8, label="demand")
    axis.set_ylabel("image units\na minute")
    axis.legend(loc="upper right", ncols=4)


def _rate(picture: Picture, tier: str) -> float:
    text = next((limit.rate for limit in picture.policy.limits if limit.tier == tier), "none")
    return _a_minute(text)


def _demand(picture: Picture) -> float:
    told = [_a_minute(limit.demand or "") for limit in picture.policy.limits]
    return sum(told) if told else float("nan")


def _a_minute(text: str) -> float:
    return parse_rate(text) * 60.0 if is_written(RATE, text) else 0.0 if text.startswith("0") else float("nan")


def _nodes(axis: Axes, story: Story) -> None:
    """Who has the nodes: the service's own, borrowed ones, those on their way, research's."""
    kinds = {"service's own": "#1b7837", "borrowed": "#f4a582", "on the move": "#bababa", "research's": "#4393c3"}
    counts = [Counter(_holder(node.home, node.pool, node.step) for node in picture.nodes) for _, picture in story.album]
    times = [at for at, _ in story.album]
    stacked = ([count[kind] for count in counts] for kind in kinds)
    axis.stackplot(times, *stacked, labels=list(kinds), colors=list(kinds.values()), alpha=0.85, step="post")
    axis.set_ylabel("nodes")
    axis.legend(loc="upper right", ncols=4)


def _holder(home: str, pool: str, step: str) -> str:
    if step == "Lent":
        return "borrowed"
    if step:
        return "on the move"
    return "service's own" if home == pool == "inference" else "research's"


def _levels(axis: Axes, story: Story) -> None:
    for (at, picture), (until, _) in zip(story.album, story.album[1:], strict=False):
        colour = LEVELS.get(str(picture.policy.level or "Normal"), LEVELS["Normal"])
        axis.axvspan(at, until, color=colour, zorder=-10, linewidth=0)


def _events(axis: Axes, story: Story) -> None:
    for event in story.events:
        axis.axvline(event.at, color="#404040", linewidth=0.7, linestyle="--", alpha=0.7)


def _numbers(axis: Axes, story: Story) -> None:
    """On two heights, so that neighbours do not cover one another."""
    for number, event in enumerate(story.events, start=1):
        height = 1.01 + 0.06 * ((number - 1) % 3)
        axis.annotate(f"{number}", (event.at, height), xycoords=("data", "axes fraction"), ha="center", fontsize=9)


def _legend(events: Sequence[Event]) -> str:
    """Two columns of numbered lines."""
    lines = [f"{number:2}  {event.at:6.1f} s  {event.text}" for number, event in enumerate(events, start=1)]
    half = (len(lines) + 1) // 2
    left, right = lines[:half], [*lines[half:], ""]
    width = max((len(line) for line in left), default=0) + 4
    return "\n".join(f"{one:<{width}}{other}" for one, other in zip(left, right, strict=False))
