"""Whose work a loan broke off, as statuses tell it."""

from typing import Annotated

from meltguard.api.fields import Clipped, ListMap, Moment
from meltguard.api.wire import MessageModel
from meltguard.core.fleet import MOST_TOLD


class StoppedWork(MessageModel):
    """One work that a loan broke off."""

    work: Annotated[str, Clipped(320)]
    """A gang, as Kind namespace/name, or a pod that stood alone, as Pod namespace/name."""
    hours_lost: Annotated[str, Clipped(32)]
    """GPU-hours of it that were not saved, as expected when the node was claimed."""
    saved_before: Moment | None = None
    """When it had last saved its work. Left out where it never told."""


StoppedWorks = Annotated[tuple[StoppedWork, ...], ListMap("work"), Clipped(MOST_TOLD)]
