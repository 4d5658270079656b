"""What an allowance has left, and how its users are told."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from meltguard.core.quota import Period
from meltguard.core.units import Seconds

POLICY_NAMES: Final[Mapping[Period, str]] = {
    Period.DAY: "images-daily",
    Period.WEEK: "images-weekly",
    Period.MONTH: "images-monthly",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a user's period has left, on the store's clock."""

    limit: int
    used: int
    resets_in: Seconds
    window: Seconds = Seconds(86_400.0)  # length of the running period: a month has 28 to 31 days
    period: Period = Period.DAY

    def refunded(self, images: int) -> "Allowance":
        """The same after images were given back."""
        return replace(self, used=max(0, self.used - images))
