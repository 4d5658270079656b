"""The figures that were fitted to the recorded traces and ship with the package: shapes and quantiles, no rows."""

from importlib.resources import files
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from meltguard.core.units import Share
from meltguard.sim.recording import Recording
from meltguard.sim.spread import Envelope, Quantiles

FIGURES: Final = "fitted.json"
"""The file beside this module that `python -m meltguard.sim.fit --write` makes."""

LEVELS: Final = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
"""Quantiles that a distribution is told by. The last leaves out the extreme row: it is one person's."""

Table = Annotated[tuple[float, ...], Field(min_length=len(LEVELS), max_length=len(LEVELS))]
Part = Annotated[float, Field(ge=0, le=1)]


class Point(BaseModel):
    """One corner of the surge's shape."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: Part
    rate: Part


class Figures(BaseModel):
    """What the file holds. Times in seconds, one value a level of LEVELS."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fitted_to: str
    service_seconds: dict[int, Table]
    failed_seconds: Table
    failure_share: Part
    requests_a_user: Table
    images_a_request: dict[int, Part]
    model_load_seconds: Table
    envelope: Annotated[tuple[Point, ...], Field(min_length=2, max_length=24)]


def shipped() -> Figures:
    """The figures in the package."""
    return Figures.model_validate_json(files("meltguard.sim").joinpath(FIGURES).read_text(encoding="utf-8"))


def from_figures(figures: Figures) -> Recording:
    """A recording that draws from fitted figures."""
    return Recording(
        source=f"figures fitted to {figures.fitted_to}, shipped with meltguard",
        service={size: Quantiles(LEVELS, table) for size, table in figures.service_seconds.items()},
        failed=Quantiles(LEVELS, figures.failed_seconds),
        failure_share=Share(figures.failure_share),
        users=None,
        requests_a_user=Quantiles(LEVELS, figures.requests_a_user),
        images={size: Share(part) for size, part in figures.images_a_request.items()},
        model_load=Quantiles(LEVELS, figures.model_load_seconds),
        envelope=Envelope(
            tuple(point.time for point in figures.envelope), tuple(point.rate for point in figures.envelope)
        ),
    )
