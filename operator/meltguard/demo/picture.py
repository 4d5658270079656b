"""The story in one picture: decisions, what was asked for and admitted, waits, heat, a slow pod, limits, nodes."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Final

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import blended_transform_factory

from meltguard.agent.journal import JournalEntry
from meltguard.core.units import Instant, Seconds
from meltguard.demo.check.policy import a_minute
from meltguard.demo.checker import Findings
from meltguard.demo.facts import RunFacts
from meltguard.demo.lanes import LEVELS, Decisions, decisions_of, draw_lanes, key
from meltguard.demo.plan import FREE, PLUS, PRO
from meltguard.demo.watch import NodeNow, Picture

TIERS: Final[Mapping[str, str]] = {PRO: "#1b7837", PLUS: "#7fbf7b", FREE: "#2166ac"}
HOT, OTHER, SLOW = "#b2182b", "#878787", "#762a83"
BIN: Final = 2.0
"""Seconds that requests are counted over."""

STEP: Final = 1.0
FIRST: Final = 10.0
"""Seconds within which a pod that was there when the surge began has had a request."""

TARGET, CRITICAL = 84.0, 92.0
"""Degrees at which the policy's temperature means pressure 1.0 and 1.5."""

DPI: Final = 100
WIDTH: Final = 1600
LANE, PANEL, LINE, ROOM = 38, 190, 14.2, 150
"""Heights in pixels: of a lane, of a panel, of a line of the key, and of what is around all of them."""

LEAST_LINES: Final = 10
"""Of the key: with less its title would not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What is drawn."""

    surge_at: Instant
    album: Sequence[tuple[Seconds, Picture]]
    journals: Mapping[str, Sequence[JournalEntry]]  # by node
    found: Findings
    facts: RunFacts

    @property
    def entries(self) -> Iterable[JournalEntry]:
        """All nodes' journals."""
        return chain.from_iterable(self.journals.values())

    @property
    def span(self) -> tuple[float, float]:
        """From the first look to the last, in seconds from the start of the surge."""
        return (self.album[0][0], self.album[-1][0]) if self.album else (0.0, 1.0)


def draw(story: Story, path: Path) -> None:
    """Write the picture as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure_of(story).savefig(path, dpi=DPI)


def figure_of(story: Story) -> Figure:
    """The picture: lanes of decisions, panels on the same time axis, the key to the numbers."""
    made = decisions_of(story.found, story.facts, story.span[1])
    left, right = key(made.marks)
    panels = (_requests, _waits, _heat, _slow, _limits, _nodes)
    heights = [LANE * len(made.lanes), *(PANEL for _ in panels), LINE * max(LEAST_LINES, left.count("\n") + 5)]
    figure = Figure(figsize=(WIDTH / DPI, (sum(heights) + ROOM) / DPI), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Sequence[Axes] = figure.subplots(len(heights), 1, height_ratios=heights)
    lanes, *rest, words = axes
    _decisions(lanes, made, story)
    for axis, panel in zip(rest, panels, strict=True):
        panel(axis, story)
        _framed(axis, story)
    rest[-1].set_xlabel("seconds from the start of the surge")
    figure.suptitle(
        f"A surge on an image service, and what Meltguard did about it (speed {story.facts.speed:g}: that many times "
        f"as fast as the recorded one; seed {story.facts.seed})",
        fontsize=13,
    )
    _key(figure, words, (left, right))
    return figure


def _decisions(axis: Axes, made: Decisions, story: Story) -> None:
    draw_lanes(axis, made, story.span)
    axis.set_xlim(*story.span)
    axis.grid(visible=True, axis="x", alpha=0.25)
    axis.xaxis.set_major_formatter("{x:.0f} s")
    shades = [Patch(facecolor=colour, edgecolor="#bbbbbb", label=f"level {name}") for name, colour in LEVELS.items()]
    acts = Line2D([], [], color="#404040", linewidth=0.8, linestyle="--", label="below: what people or\naccidents did")
    _legend(axis, [*shades, acts])


def _framed(axis: Axes, story: Story) -> None:
    """What all panels share: the levels behind, the acts of people as lines, the time axis."""
    for (at, picture), (until, _) in zip(story.album, story.album[1:], strict=False):
        level = str(picture.policy.level or "Normal")
        if level != "Normal":
            axis.axvspan(at, until, color=LEVELS[level], zorder=-10, linewidth=0)
    for mark in story.facts.acts:
        axis.axvline(mark.at - story.surge_at, color="#404040", linewidth=0.8, linestyle="--", alpha=0.6)
    axis.set_xlim(*story.span)
    axis.xaxis.set_major_formatter("{x:.0f} s")
    axis.grid(visible=True, alpha=0.25)
    _legend(axis)


def _legend(axis: Axes, handles: Sequence[Artist] | None = None) -> None:
    """Beside the panel and its second scale, where it hides nothing; none where nothing is drawn."""
    if handles is None and not axis.get_legend_handles_labels()[1]:
        return
    axis.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.06, 1.0), fontsize=9, borderaxespad=0.0)


def _key(figure: Figure, axis: Axes, columns: tuple[str, str]) -> None:
    """Over the whole width, below all panels."""
    axis.axis("off")
    title = "Key: each decision in the operator's own words, and what people and accidents did"
    axis.set_title(title, loc="left", fontsize=11)
    place = blended_transform_factory(figure.transFigure, axis.transAxes)
    for x, text in zip((0.006, 0.504), columns, strict=True):
        axis.text(x, 1.0, text, transform=place, fontsize=8, va="top", family="monospace", in_layout=False)


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
        alpha=0.85,
        step="post",
    )
    axis.step(times, [offered[at] for at in times], where="post", color="black", linewidth=1.2, label="all sent")
    axis.set_title("Requests", loc="left", fontsize=11)
    axis.set_ylabel("requests a second")


def _a_second(times: Iterable[float]) -> dict[float, float]:
    counted = Counter(at // BIN * BIN for at in times)
    return {at: count / BIN for at, count in counted.items()}


def _waits(axis: Axes, story: Story) -> None:
    for tier, colour in TIERS.items():
        seen = [(at, now.wait_p99) for at, picture in story.album for now in picture.tiers if now.tier == tier]
        axis.plot(*_columns(seen), color=colour, label=f"{tier}, p99 of 10 s")
    axis.set_title("Waits of those who were admitted", loc="left", fontsize=11)
    axis.set_ylabel("seconds")


def _heat(axis: Axes, story: Story) -> None:
    """Of the service's nodes: the one with the badly cooled card, and the hottest of the others."""
    hot = story.found.hot_gpu.node if story.found.hot_gpu else ""
    own = [(at, _hottest(n for n in picture.nodes if n.name == hot)) for at, picture in story.album]
    others = [(at, _hottest(n for n in picture.nodes if n.name != hot and n.serving)) for at, picture in story.album]
    axis.plot(*_columns([(at, value) for at, value in own if value]), color=HOT, label=f"{hot}: a fan has failed")
    axis.plot(*_columns([(at, value) for at, value in others if value]), color=OTHER, label="other serving nodes")
    axis.axhline(TARGET, color=HOT, linestyle=":", linewidth=1.0, label="pressure 1.0")
    axis.axhline(CRITICAL, color=HOT, linestyle="--", linewidth=1.0, label="pressure 1.5")
    counts = [(at, n.counted) for at, picture in story.album for n in picture.nodes if n.name == hot and n.counted]
    beside = axis.twinx()
    beside.step(*_columns([(at, 100.0 * share) for at, share in counts]), where="post", color="#e08214", linewidth=1.6)
    axis.plot([], [], color="#e08214", linewidth=1.6, label=f"{hot} counts for (right)")
    beside.set_ylim(60.0, 103.0)
    axis.set_ylim(30.0, 100.0)
    beside.set_ylabel("% of its GPUs")
    axis.set_title(
        "Heat: each node's hottest GPU, and how much of the hot node the law counts on", loc="left", fontsize=11
    )
    axis.set_ylabel("degrees Celsius")


def _hottest(nodes: Iterable[NodeNow]) -> float:
    return max((node.hottest or 0.0 for node in nodes), default=0.0)


def _slow(axis: Axes, story: Story) -> None:
    """Requests that the pod on the slow card has taken so far, and what its node's other pods have."""
    slow = story.found.slow_pod
    node = slow.pod.node if slow else "?"
    axis.set_title(
        f"A slow card that no sensor shows: requests taken so far by its pod, and by the other pods of {node}",
        loc="left",
        fontsize=11,
    )
    axis.set_ylabel("requests")
    if slow is None:
        return
    taken = taken_by_pod(story.journals.get(node, ()), (story.surge_at, slow.until))
    times = [at * STEP for at in range(int((slow.until - story.surge_at) / STEP) + 1)]
    counts = {pod: [sum(came <= at for came in cames) for at in times] for pod, cames in taken.items()}
    own, others = counts.pop(slow.pod.uid, []), list(zip(*counts.values(), strict=True))
    if own and others:
        axis.fill_between(
            times,
            [min(o) for o in others],
            [max(o) for o in others],
            color=OTHER,
            alpha=0.3,
            label="others, least to most",
        )
        axis.plot(times, [median(o) for o in others], color=OTHER, label="others, median")
    axis.plot(times, own or [0] * len(times), color=SLOW, linewidth=2.0, label="pod on the slow card")


def taken_by_pod(entries: Iterable[JournalEntry], span: tuple[Instant, Instant]) -> Mapping[str, Sequence[float]]:
    """When each pod took its requests, in seconds from the start of the span; of pods that were there at its start."""
    begin, end = span
    found: defaultdict[str, list[float]] = defaultdict(list)
    for entry in entries:
        if entry.verdict == "admitted" and entry.at <= end:
            found[entry.pod].append(entry.at - begin)
    return {pod: [at for at in times if at >= 0] for pod, times in found.items() if min(times) < FIRST}


def _limits(axis: Axes, story: Story) -> None:
    for tier, colour in TIERS.items():
        told = [(at, _rate(picture, tier)) for at, picture in story.album]
        axis.plot(*_columns(told), color=colour, label=f"{tier}: limit", linewidth=2.2)
    axis.plot(
        *_columns([(at, _demand(picture)) for at, picture in story.album]),
        color="black",
        linewidth=1.0,
        label="demand of all",
    )
    can = [(at, _capacity(picture)) for at, picture in story.album]
    axis.plot(*_columns(can), color="black", linewidth=1.0, linestyle="--", label="what GPUs can do")
    axis.set_title("Demand, capacity, limits (a tier without a line has no limit)", loc="left", fontsize=11)
    axis.set_ylabel("image units\na minute")


def _rate(picture: Picture, tier: str) -> float:
    return a_minute(next((limit.rate for limit in picture.policy.limits if limit.tier == tier), "none"))


def _demand(picture: Picture) -> float:
    told = [a_minute(limit.demand or "") for limit in picture.policy.limits]
    return sum(told) if told else float("nan")


def _capacity(picture: Picture) -> float:
    decision = picture.policy.decision
    return a_minute((decision.capacity if decision is not None else None) or "")


def _nodes(axis: Axes, story: Story) -> None:
    """Who has the nodes: the service's own, borrowed ones, those on their way, research's."""
    kinds = {"service's own": "#1b7837", "borrowed": "#f4a582", "on the move": "#bababa", "research's": "#4393c3"}
    counts = [Counter(_holder(node) for node in picture.nodes) for _, picture in story.album]
    stacked = ([count[kind] for count in counts] for kind in kinds)
    times = [at for at, _ in story.album]
    axis.stackplot(times, *stacked, labels=list(kinds), colors=list(kinds.values()), alpha=0.85, step="post")
    axis.set_title("Who has the GPU nodes", loc="left", fontsize=11)
    axis.set_ylabel("nodes")


def _holder(node: NodeNow) -> str:
    if node.step == "Lent":
        return "borrowed"
    if node.step:
        return "on the move"
    return "service's own" if node.home == node.pool == "inference" else "research's"


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
