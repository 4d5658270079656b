"""A recurring span of time, as pools and policies write it."""

from typing import Annotated

from meltguard.api import fields
from meltguard.api.quantities import CRON
from meltguard.api.rules import RuledModel


class RecurringSpec(RuledModel):
    """When it opens, and for how long."""

    schedule: Annotated[
        str,
        fields.text(
            fields.text_rule(
                CRON,
                "schedule must be five cron fields of numbers, *, lists, ranges and steps "
                "(minute hour day month weekday), like 0 22 * * 5",
            ),
            100,
        ),
    ]
    """When the window opens: minute, hour, day of month, month, day of week, as cron writes them."""
    duration: Annotated[str, fields.duration("duration", "1s", "168h")]
    """How long it stays open."""
    time_zone: Annotated[str, fields.time_zone("timeZone")] = "UTC"
    """IANA name of the time zone that schedule is read in."""
