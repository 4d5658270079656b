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

    def headers(self) -> dict[str, str]:
        """The RateLimit fields (draft-ietf-httpapi-ratelimit-headers-11).

        >>> Allowance(limit=3, used=2, resets_in=Seconds(5400.0)).headers()["ratelimit"]
        '"images-daily";r=1;t=5400'
        """
        name, left = POLICY_NAMES[self.period], max(0, self.limit - self.used)
        return {
            "ratelimit-policy": f'"{name}";q={self.limit};w={round(self.window)}',
            "ratelimit": f'"{name}";r={left};t={max(0, round(self.resets_in))}',
        }

    def refunded(self, images: int) -> "Allowance":
        """The same after images were given back."""
        return replace(self, used=max(0, self.used - images))
