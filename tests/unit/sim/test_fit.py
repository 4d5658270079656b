"""The shipped figures against the traces that they were fitted to."""

from pathlib import Path

import pytest

from meltguard.core.units import Share
from meltguard.errors import InvalidInput
from meltguard.sim.fit import corners, fit
from meltguard.sim.fitted import from_figures, shipped
from meltguard.sim.recorded import from_rows, recording, traces_beside_checkout
from meltguard.sim.recording import BATCH_CLASSES, Recording
from meltguard.sim.spread import Envelope, Spread, seeded


@pytest.fixture(scope="module")
def rows() -> Recording:
    traces = traces_beside_checkout()
    if traces is None:
        pytest.skip("no recorded traces at ../shared/traces beside this checkout")
    return from_rows(traces)


def mean(spread: Spread) -> float:
    return sum(spread.at(Share((i + 0.5) / 4000)) for i in range(4000)) / 4000


def test_the_shipped_figures_are_what_a_refit_gives(rows: Recording) -> None:
    assert shipped() == fit(rows)


@pytest.mark.parametrize("size", BATCH_CLASSES)
def test_fitted_service_times_have_the_recorded_mean(rows: Recording, size: int) -> None:
    fitted = from_figures(shipped())

    assert fitted.mean_service_time(size, 4000) == pytest.approx(rows.mean_service_time(size, 4000), rel=0.06)


def test_fitted_model_loads_have_the_recorded_mean(rows: Recording) -> None:
    assert mean(from_figures(shipped()).model_load) == pytest.approx(mean(rows.model_load), rel=0.06)


def test_the_fitted_shape_carries_the_recorded_number_of_requests(rows: Recording) -> None:
    assert from_figures(shipped()).envelope.mean() == pytest.approx(rows.envelope.mean(), rel=0.03)


def test_the_shipped_figures_are_figures_and_no_rows() -> None:
    figures = shipped()

    assert 2 <= len(figures.envelope) <= 24
    assert all(len(table) == 11 for table in figures.service_seconds.values())
    assert max(point.rate for point in figures.envelope) == 1.0


def test_without_traces_the_figures_are_drawn_from_and_the_source_says_so() -> None:
    drawn = recording(None)

    assert "fitted" in drawn.source
    assert all(1 <= size <= 8 for _ in range(50) for size in drawn.user(seeded(1, "any")))


def test_a_broken_trace_is_named(tmp_path: Path) -> None:
    (tmp_path / "image-requests-gentd26.csv.gz").write_bytes(b"not gzip")

    with pytest.raises(InvalidInput, match=r"image-requests-gentd26\.csv\.gz"):
        from_rows(tmp_path)


def test_corners_keep_ends_and_peak() -> None:
    times = tuple(i / 100 for i in range(101))
    shape = Envelope(times, tuple(1.0 if i == 60 else 0.2 for i in range(101)))

    found = corners(shape)

    assert (found[0].time, found[-1].time) == (0.0, 1.0)
    assert (0.6, 1.0) in {(point.time, point.rate) for point in found}
