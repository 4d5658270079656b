"""What stands where before the surge: nodes by pool, the work on them, and how the service's pods behave."""

from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import Field, PlainValidator, model_validator

from meltguard.api.quantities import parse_duration
from meltguard.api.wire import SpecModel
from meltguard.errors import InvalidInput

MOST_NODES: Final = 2_000


def _duration(text: object) -> float:
    """Seconds; ValueError with the way to write it where it is none."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no duration; write it as 30s, 2m or 1h30m")  # noqa: TRY004 - pydantic's own kind
    try:
        return parse_duration(text)
    except InvalidInput as exc:
        raise ValueError(str(exc)) from exc


Duration = Annotated[float, PlainValidator(_duration)]
"""Seconds, written as in a policy: 30s, 2m, 1h30m."""


class WorkPlan(SpecModel):
    """One Job on a lender's nodes: a pod on each of so many, taking all of the node's GPUs."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=40)]
    nodes: Annotated[int, Field(ge=1, le=MOST_NODES)] = 1
    running_for: Duration = 6 * 3600.0
    """How long it has been running when the surge begins."""
    lasts: Duration | None = None
    """When it is done, from the start of the surge; left out, it outlasts the surge."""
    checkpoint_every: Duration | None = None
    """How often it saves its work; left out, it never says that it did."""
    saves_within: Duration | None = None
    """How long it takes to save once it is told to leave; left out, it does not listen."""
    grace: Duration = 30.0
    """What its pods take to end once they are evicted."""
    keep: bool = False
    """Its owner asks to leave it alone (meltguard.io/do-not-evict)."""
    min_available: Annotated[int, Field(ge=0)] = 0
    """Of its disruption budget; 0 is no budget."""
    retries: Annotated[int, Field(ge=0)] = 6
    """Its backoffLimit."""
    priority: int = 0


class PoolPlan(SpecModel):
    """One pool's nodes."""

    nodes: Annotated[int, Field(ge=0, le=MOST_NODES)]
    gpus: Annotated[int, Field(ge=1, le=64)] = 8
    """Of each node."""
    work: tuple[WorkPlan, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        asked = sum(one.nodes for one in self.work)
        if asked > self.nodes:
            raise ValueError(f"its work takes {asked} nodes, and it has {self.nodes}; add nodes or take work off")
        names = [one.name for one in self.work]
        if len(set(names)) < len(names):
            raise ValueError(f"two works have one name ({', '.join(sorted(names))}); give each its own")
        return self


class ServicePlan(SpecModel):
    """How long the service's own things take."""

    seconds_per_image: Duration | None = None
    """GPU time of one image; left out, images and times are drawn as a production service's were recorded."""
    model_load: Duration | None = None
    """From a pod's start until its agent answers; left out, drawn from recorded loads (p50 23 s, p99 52 s)."""
    celsius: Annotated[float, Field(ge=40, le=110)] = 74.0
    """Where its cards settle at work; above 87 they slow down."""


class FleetPlan(SpecModel):
    """The whole file."""

    pools: Annotated[Mapping[str, PoolPlan], Field(min_length=1)]
    service: ServicePlan = ServicePlan()
