"""`python -m meltguard.sim.fit`: fit the figures that ship with the package to the recorded traces.

Prints them as JSON; with --write it replaces the file in the package.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from meltguard.core.units import Share
from meltguard.errors import InvalidInput
from meltguard.sim.fitted import FIGURES, LEVELS, Figures, Point
from meltguard.sim.recorded import FLASH_CROWD, MODEL_LOADS, REQUESTS, from_rows, traces_beside_checkout
from meltguard.sim.recording import Recording
from meltguard.sim.spread import Envelope, Spread, between

CORNERS: Final = 16
"""Points that the surge's shape is told by."""

SMOOTH: Final = 5
"""Minutes that are averaged before corners are sought: a shape is wanted, not single minutes."""


def fit(recorded: Recording) -> Figures:
    """Quantiles, shares and the corners of a shape; no row leaves the traces."""
    return Figures(
        fitted_to=f"{REQUESTS}, {MODEL_LOADS} (GenTD26) and {FLASH_CROWD} (WorldCup98)",
        service_seconds={size: _table(spread) for size, spread in recorded.service.items()},
        failed_seconds=_table(recorded.failed),
        failure_share=round(recorded.failure_share, 4),
        requests_a_user=_table(recorded.requests_a_user),
        images_a_request={size: round(part, 4) for size, part in recorded.images.items()},
        model_load_seconds=_table(recorded.model_load),
        envelope=corners(recorded.envelope),
    )


def _table(spread: Spread) -> tuple[float, ...]:
    return tuple(round(spread.at(Share(level)), 1) for level in LEVELS)


def corners(shape: Envelope) -> tuple[Point, ...]:
    """The few points whose straight lines come nearest: time after time, a corner where the lines are farthest off."""
    rates = _smoothed(shape.rates)
    chosen = [0, len(rates) - 1]
    while len(chosen) < CORNERS:
        chosen = sorted([*chosen, _farthest(shape.times, rates, chosen)])
    return tuple(Point(time=round(shape.times[i], 3), rate=round(rates[i], 3)) for i in chosen)


def _smoothed(rates: Sequence[float]) -> list[float]:
    half = SMOOTH // 2
    windows = [rates[max(0, i - half) : i + half + 1] for i in range(len(rates))]
    means = [sum(window) / len(window) for window in windows]
    peak = max(range(len(rates)), key=rates.__getitem__)
    means[peak] = rates[peak]  # the peak itself stays: the surge is scaled by it
    return means


def _farthest(times: Sequence[float], rates: Sequence[float], chosen: Sequence[int]) -> int:
    known = [times[i] for i in chosen], [rates[i] for i in chosen]
    gaps = [abs(rate - between(*known, time)) for time, rate in zip(times, rates, strict=True)]
    return max(range(len(gaps)), key=gaps.__getitem__)


def main() -> int:
    """Exit code 0; 2 where there are no traces to fit to."""
    parser = argparse.ArgumentParser(prog="python -m meltguard.sim.fit", description=__doc__)
    parser.add_argument("--traces", type=Path, default=traces_beside_checkout(), help="folder of the recorded traces")
    parser.add_argument("--write", action="store_true", help=f"replace {FIGURES} in the package")
    asked = parser.parse_args()
    if asked.traces is None:
        sys.stderr.write("no traces at ../shared/traces beside this checkout; name their folder with --traces\n")
        return 2
    try:
        text = fit(from_rows(asked.traces)).model_dump_json(indent=1) + "\n"
    except InvalidInput as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    if asked.write:
        Path(__file__).with_name(FIGURES).write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
