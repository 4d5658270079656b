"""A rehearsal in one picture: what was asked for and served, waits, limits, and who had the nodes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from meltguard.controller.events import Reason
from meltguard.core.policy import Level
from meltguard.core.units import Seconds, TierName
from meltguard.rehearse.figures import NEARLY_ALL
from meltguard.rehearse.rehearsal import Rehearsal
from meltguard.sim.ledger import Sample, quantile

PAID: Final = ("#1b7837", "#7fbf7b", "#762a83", "#af8dc3", "#8c510a")
FREE: Final = "#2166ac"
"""Of the tier of the lowest priority; the others have PAID, the highest first."""

SHADES: Final[Mapping[Level, str]] = {
    Level.ELEVATED: "#fff3c4",
    Level.OVERLOADED: "#fdd9b5",
    Level.CRITICAL: "#f4b5ae",
}
OWN, BORROWED, MOVING = "#1b7837", "#f4a582", "#bababa"
HOMES: Final = ("#4393c3", "#92c5de", "#2166ac", "#d1e5f0")
MARKS: Final[Mapping[Reason, tuple[str, str]]] = {
    Reason.NODE_BORROWED: ("v", "a node is claimed"),
    Reason.NODE_RECALLED: ("^", "a node is called home"),
}
ABOVE: Final = 1.05
"""Where marks stand, in heights of all nodes."""

MOST_BINS: Final = 180
LEAST_BIN: Final = 20.0
DPI, WIDTH, HEIGHT = 100, 14.0, 12.5
MINUTE, HOUR = 60.0, 3600.0
LONG: Final = 6 * HOUR
"""A surge that is longer is drawn in hours."""


def draw(rehearsal: Rehearsal, path: Path) -> None:
    """Write the picture as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure_of(rehearsal).savefig(path, dpi=DPI)


def figure_of(rehearsal: Rehearsal) -> Figure:
    """Four panels over one time axis; the colour behind them is the level."""
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Sequence[Axes] = figure.subplots(4, 1, sharex=True, height_ratios=(1.1, 0.8, 1.0, 1.0))
    for axis, panel in zip(axes, (_requests, _waits, _limits, _nodes), strict=True):
        panel(axis, rehearsal)
        _framed(axis, rehearsal)
    _legend(axes[0], [Patch(facecolor=shade, label=f"level {level.label}") for level, shade in SHADES.items()])
    axes[-1].set_xlabel(f"{'hours' if _unit(rehearsal) == HOUR else 'minutes'} from the start of the surge")
    plan = rehearsal.plan
    title = f"Rehearsal of policy {plan.policy.key} ({plan.manifests.name}); nothing was applied anywhere"
    figure.suptitle(f"{title}\n{plan.surge.source}, seed {plan.seed}", fontsize=12)
    return figure


def _unit(rehearsal: Rehearsal) -> float:
    return HOUR if rehearsal.plan.surge.until > LONG else MINUTE


def _bin(rehearsal: Rehearsal) -> float:
    """Seconds that requests are counted over."""
    return max(LEAST_BIN, rehearsal.plan.surge.until / MOST_BINS)


def _times(rehearsal: Rehearsal) -> list[float]:
    width, unit = _bin(rehearsal), _unit(rehearsal)
    return [number * width / unit for number in range(int(rehearsal.plan.surge.until / width))]


def _colours(rehearsal: Rehearsal) -> Mapping[TierName, str]:
    """Highest priority first."""
    tiers = [one.name for one in sorted(rehearsal.plan.policy.tiers, key=lambda one: -one.priority)]
    return {name: PAID[number % len(PAID)] for number, name in enumerate(tiers[:-1])} | {tiers[-1]: FREE}


def _framed(axis: Axes, rehearsal: Rehearsal) -> None:
    unit = _unit(rehearsal)
    for begin, end, level in _levels(rehearsal.ledger.samples, rehearsal.plan.surge.until):
        if level in SHADES:
            axis.axvspan(begin / unit, end / unit, color=SHADES[level], zorder=-10, linewidth=0)
    axis.set_xlim(0.0, rehearsal.plan.surge.until / unit)
    axis.set_ylim(bottom=0.0)
    axis.grid(visible=True, alpha=0.25)
    _legend(axis, ())


def _levels(samples: Sequence[Sample], until: Seconds) -> list[tuple[float, float, Level]]:
    """Spans of one level each."""
    starts = [next(alike) for _, alike in groupby(samples, key=lambda one: one.level)]
    ends = [*(one.at for one in starts[1:]), until]
    return [(one.at, end, one.level) for one, end in zip(starts, ends, strict=True)]


def _legend(axis: Axes, more: Sequence[Artist]) -> None:
    """Beside the panel, where it hides nothing."""
    handles = [*axis.get_legend_handles_labels()[0], *more]
    axis.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=9, borderaxespad=0.0)


def _requests(axis: Axes, rehearsal: Rehearsal) -> None:
    """Admitted by tier on top of one another; the line is what was asked for, so that the gap is what was shed."""
    times, width = _times(rehearsal), _bin(rehearsal)
    colours, sums = _colours(rehearsal), rehearsal.ledger.tiers
    admitted = {name: _a_second((at + wait for at, wait in sums[name].waits), width, len(times)) for name in colours}
    came = (at for one in sums.values() for at in (*(at for at, _ in one.waits), *one.turned_away))
    axis.stackplot(
        times,
        *admitted.values(),
        labels=[f"{name} served" for name in colours],
        colors=list(colours.values()),
        step="post",
    )
    asked = _a_second(came, width, len(times))
    axis.step(times, asked, where="post", color="black", linewidth=1.3, label="asked for by all")
    axis.set_title("Requests: what is above the coloured areas was shed", loc="left", fontsize=11)
    axis.set_ylabel("requests a second")


def _a_second(moments: Iterable[float], width: float, count: int) -> list[float]:
    counts = [0] * count
    for at in moments:
        place = int(at / width)
        if place < count:
            counts[place] += 1
    return [number / width for number in counts]


def _waits(axis: Axes, rehearsal: Rehearsal) -> None:
    width, times = _bin(rehearsal), _times(rehearsal)
    for name, colour in _colours(rehearsal).items():
        waits: defaultdict[int, list[float]] = defaultdict(list)
        for at, wait in rehearsal.ledger.tiers[name].waits:
            waits[int(at / width)].append(wait)
        values = [quantile(waits[place], NEARLY_ALL) if waits[place] else None for place in range(len(times))]
        shown = [value if value is not None else float("nan") for value in values]
        axis.step(times, shown, where="post", color=colour, label=f"{name}, p99", linewidth=1.3)
    axis.set_ylim(top=max(1.0, axis.get_ylim()[1]))
    axis.set_title("Waits of those who were served, by when they asked", loc="left", fontsize=11)
    axis.set_ylabel("seconds")


def _limits(axis: Axes, rehearsal: Rehearsal) -> None:
    unit, samples = _unit(rehearsal), rehearsal.ledger.samples
    times = [one.at / unit for one in samples]
    for name, colour in _colours(rehearsal).items():
        rates = [MINUTE * one.rates[name] if name in one.rates else float("nan") for one in samples]
        axis.plot(times, rates, color=colour, label=f"{name}: limit", linewidth=2.0)
    can = [float("nan") if one.capacity is None else MINUTE * one.capacity for one in samples]
    axis.plot(times, can, color="black", linewidth=1.0, linestyle="--", label="what the GPUs can do")
    wanted, width = _offered(rehearsal), _bin(rehearsal)
    axis.step(
        _times(rehearsal),
        [MINUTE * units / width for units in wanted],
        where="post",
        color="black",
        linewidth=1.0,
        label="demand of all",
    )
    axis.set_title("Demand, capacity and limits (a tier without a line has no limit)", loc="left", fontsize=11)
    axis.set_ylabel("images a minute")


def _offered(rehearsal: Rehearsal) -> list[float]:
    width = _bin(rehearsal)
    units = [0.0] * len(_times(rehearsal))
    for one in rehearsal.ledger.samples:
        place = int(one.at / width)
        if place < len(units):
            units[place] += sum(one.offered.values())
    return units


def _nodes(axis: Axes, rehearsal: Rehearsal) -> None:
    """Who has the nodes, and each step of a loan as a mark."""
    unit, frames, taker = _unit(rehearsal), rehearsal.frames, rehearsal.plan.taker.name
    times = [one.at / unit for one in frames]
    lenders = [name for name in frames[0].home if name != taker] if frames else []
    rows = {
        f"{taker}: the service's own": ([one.home[taker] for one in frames], OWN),
        "borrowed": ([one.lent for one in frames], BORROWED),
        "on the move": ([one.moving for one in frames], MOVING),
        **{
            f"{name}: at home": ([one.home[name] for one in frames], HOMES[number % len(HOMES)])
            for number, name in enumerate(lenders)
        },
    }
    axis.stackplot(
        times,
        *(counts for counts, _ in rows.values()),
        labels=list(rows),
        colors=[colour for _, colour in rows.values()],
        step="post",
    )
    above = ABOVE * max((sum(one.home.values()) + one.lent + one.moving for one in frames), default=0)
    for reason, (marker, words) in MARKS.items():
        moments = [one.at / unit for one in rehearsal.told if one.reason is reason]
        axis.plot(moments, [above] * len(moments), marker, color="black", markersize=6, label=words)
    axis.set_title("Who has the GPU nodes", loc="left", fontsize=11)
    axis.set_ylabel("nodes")
