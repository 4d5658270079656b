"""One picture of the compared laws: what is asked and done, the free tier's limit, trim, by shape and law."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from bench.law_cases import FREE, Case
from meltguard.sim.ledger import Sample

COLOURS: Final = {"ours": "#0072B2", "AIMD": "#D55E00", "on/off": "#CC79A7", "static": "#777777"}
FAINT: Final = {"on/off": 0.2}
"""How much of a law is seen: one that jumps at every tick would hide the others."""

SMOOTH: Final = 15
"""Ticks that busy shares are averaged over."""


def draw(path: Path, shown: Sequence[tuple[Case, Mapping[str, Sequence[Sample]]]]) -> None:
    """Seed 1 of every shape: the load and the busy share above, the free tier's limit below."""
    figure, axes = plt.subplots(2, len(shown), figsize=(5.2 * len(shown), 7.0), sharex="col", squeeze=False)
    for column, (case, laws) in enumerate(shown):
        _busy(axes[0][column], case, laws)
        _limits(axes[1][column], case, laws)
    axes[0][0].legend(loc="lower center", ncols=2, fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _busy(axes: Axes, case: Case, laws: Mapping[str, Sequence[Sample]]) -> None:
    axes.set_title(case.name)
    for law, samples in laws.items():
        minutes = [one.at / 60 for one in samples]
        axes.plot(minutes, _smoothed(samples), color=COLOURS[law], label=law, linewidth=1.0)
    any_law = next(iter(laws.values()))
    ratio = [case.load(one.at) / max(1, one.gpus) for one in any_law]
    axes.plot([one.at / 60 for one in any_law], ratio, color="black", linewidth=0.8, linestyle=":", label="load / GPUs")
    axes.set_ylim(0, 3.0)
    axes.set_ylabel("busy share; load per GPU there")


def _limits(axes: Axes, case: Case, laws: Mapping[str, Sequence[Sample]]) -> None:
    top = 1.3 * case.nominal
    for law, samples in reversed(list(laws.items())):  # ours is drawn last, on top
        rates = [min(top, one.rates.get(FREE, top)) for one in samples]
        axes.step(
            [one.at / 60 for one in samples],
            rates,
            color=COLOURS[law],
            alpha=FAINT.get(law, 1.0),
            linewidth=1.2,
            where="post",
        )
    axes.set_ylim(0, 1.05 * top)
    axes.set_xlabel("minutes")
    axes.set_ylabel("the free tier's limit, units/s (top: none)")


def _smoothed(samples: Sequence[Sample]) -> list[float]:
    shares = [one.busy / (one.gpus * one.span) if one.gpus and one.span else 0.0 for one in samples]
    return [sum(shares[max(0, i - SMOOTH) : i + 1]) / (i + 1 - max(0, i - SMOOTH)) for i in range(len(shares))]
