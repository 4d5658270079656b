"""One picture of all sizes: what grows with the fleet, beside a line for growth in proportion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

PANELS: Final[Mapping[str, Mapping[str, str]]] = {
    "one surge, seconds": {
        "surge: first limit": "first limit",
        "surge: first claim": "first claim",
        "surge: first lent": "first node lent",
        "surge: last lent": "twentieth node lent",
        "recall: all at home": "recall, all home",
    },
    "from the start of the process, seconds": {
        "start: cluster read": "cluster read",
        "start: first decision heard": "first decision",
        "start: every agent heard": "every agent",
    },
    "one pass, seconds": {
        "quiet: pass": "a service, quiet",
        "surge: pass": "a service, surge",
        "quiet: moves": "nodes, quiet",
        "surge: moves": "nodes, surge",
    },
    "all nodes and pods read, seconds": {
        "read: ours": "our mirror",
        "read: typed": "typed models",
    },
}
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#777777")


def draw(path: Path, found: Mapping[int, Mapping[str, float | None]]) -> None:
    """`found` is, by nodes, each row's value."""
    figure, axes = plt.subplots(1, len(PANELS), figsize=(4.6 * len(PANELS), 4.2), squeeze=False)
    for place, (title, lines) in zip(axes[0], PANELS.items(), strict=True):
        _panel(
            place,
            sorted(found),
            {label: [found[size].get(name) for size in sorted(found)] for name, label in lines.items()},
        )
        place.set_title(title, fontsize=10)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(axes: Axes, sizes: Sequence[int], lines: Mapping[str, Sequence[float | None]]) -> None:
    for colour, (label, values) in zip(COLOURS, lines.items(), strict=False):
        known = [(size, value) for size, value in zip(sizes, values, strict=True) if value is not None]
        axes.plot([size for size, _ in known], [value for _, value in known], "o-", color=colour, label=label)
    lowest = min((value for values in lines.values() for value in values[:1] if value), default=1.0)
    axes.plot(sizes, [lowest * size / sizes[0] for size in sizes], ":", color="black", linewidth=0.9, label="linear")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("nodes")
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
