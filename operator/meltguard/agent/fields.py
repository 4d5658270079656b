"""What a client may still ask for: RateLimit (draft-ietf-httpapi-ratelimit-headers-11) and x-ratelimit-* fields.

The limits told are those in force at this pod, so a throttled tier sees its throttled limit, in reference images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from meltguard.agent.asgi import Header
from meltguard.agent.bucket import Bucket
from meltguard.agent.quota_allowance import POLICY_NAMES, Allowance
from meltguard.agent.rates import Rates
from meltguard.api.limit_document import TierLimit, TierState
from meltguard.core.units import Seconds, Units

RATE, MAXIMUM = "images-rate", "images-maximum"
LEFT_FIELD: Final = b"ratelimit"
FOR_EVER: Final = Seconds(math.inf)
LEFT: Final = '"{}";r={};t={}'
WINDOWS: Final = (60, 3_600, 86_400)  # the first in which a whole image fits
LONGEST_RESET: Final = 30  # as no Retry-After of a limit is longer, and none may be shorter than the reset
ONE_IMAGE: Final = Units(1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotment:
    """One limit and what is left of it."""

    name: str
    limit: int  # images a window
    window: int  # seconds
    left: int
    reset: int  # seconds until one more image may pass, or until all may where some may now


@dataclass(frozen=True, slots=True)
class Limit:
    """A bucket by the name under which clients know it."""

    name: str
    bucket: Bucket

    @property
    def window(self) -> int:
        """Seconds in which a whole image fits."""
        return next((each for each in WINDOWS if self.bucket.rate * each >= 1), WINDOWS[-1])

    def allotment(self, at: Seconds) -> Allotment:
        """What is left of it."""
        left, reset = self.left(at)
        window = self.window
        return Allotment(name=self.name, limit=int(self.bucket.rate * window), window=window, left=left, reset=reset)

    def left(self, at: Seconds) -> tuple[int, int]:
        """Images that may pass, and seconds until one more may, or until all may where some may now."""
        bucket = self.bucket
        left = int(bucket.room(at))
        wait = bucket.wait(bucket.burst if left else ONE_IMAGE, at)
        return left, LONGEST_RESET if wait >= LONGEST_RESET else math.ceil(wait)


class ToldLimits:
    """A tier's limits under one document, as every answer tells them: all that stays is written once."""

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._limits = limits
        full = [limit.allotment(FOR_EVER) for limit in limits]
        fields = rate_limit_fields(full) if full else {}
        self._of_full = [(name.encode(), value.encode()) for name, value in fields.items()]
        self._left = ", ".join(LEFT.format(limit.name, "%d", "%d") for limit in limits).encode()

    def headers(self, at: Seconds) -> list[Header]:
        """The two structured fields; none where nothing limits the tier."""
        for limit in self._limits:
            if not limit.bucket.is_full(at):
                numbers = tuple(number for limit in self._limits for number in limit.left(at))
                return [self._of_full[0], (LEFT_FIELD, self._left % numbers)]
        return self._of_full


def limits_of(rate: Bucket | None, maximum: Bucket | None) -> list[Limit]:
    """What limits a tier that is served."""
    named = ((RATE, rate), (MAXIMUM, maximum))
    return [Limit(name, bucket) for name, bucket in named if bucket is not None]


def allotments(rates: Rates, rule: TierLimit, at: Seconds) -> list[Allotment]:
    """What a tier may have at this moment: nothing where nothing limits it."""
    if rule.state is TierState.SUSPEND:
        return [Allotment(name=RATE, limit=0, window=WINDOWS[0], left=0, reset=LONGEST_RESET)]
    return [limit.allotment(at) for limit in limits_of(*rates.buckets(rule))]


def spent_for(found: Sequence[Allotment]) -> Seconds:
    """Seconds until none of these limits is used up: no Retry-After may name a shorter time."""
    return Seconds(max((each.reset for each in found if not each.left), default=0))


def of_allowance(allowance: Allowance) -> Allotment:
    """What is left of a user's own allowance."""
    left = max(0, allowance.limit - allowance.used)
    return Allotment(
        name=POLICY_NAMES[allowance.period],
        limit=allowance.limit,
        window=round(allowance.window),
        left=left,
        reset=max(0, round(allowance.resets_in)),
    )


def rate_limit_fields(found: Sequence[Allotment]) -> dict[str, str]:
    """All limits in two structured fields.

    >>> rate_limit_fields([Allotment(name="images-rate", limit=30, window=60, left=2, reset=4)])
    {'ratelimit-policy': '"images-rate";q=30;w=60', 'ratelimit': '"images-rate";r=2;t=4'}
    """
    left = ", ".join(LEFT.format(each.name, each.left, each.reset) for each in found)
    policy = ", ".join(f'"{each.name}";q={each.limit};w={each.window}' for each in found)
    return {"ratelimit-policy": policy, LEFT_FIELD.decode(): left}


def openai_fields(found: Sequence[Allotment]) -> dict[str, str]:
    """The tightest limit, as OpenAI's clients know it.

    >>> daily = Allotment(name="images-daily", limit=3, window=86400, left=1, reset=5400)
    >>> openai_fields([daily])["x-ratelimit-reset-requests"]
    '1h30m0s'
    """
    tightest = min(found, key=lambda each: (each.left, -each.reset))
    return {
        "x-ratelimit-limit-requests": str(tightest.limit),
        "x-ratelimit-remaining-requests": str(tightest.left),
        "x-ratelimit-reset-requests": _span(tightest.reset),
    }


def _span(seconds: int) -> str:
    hours, minutes = seconds // 3_600, seconds // 60 % 60
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{seconds % 60}s"
