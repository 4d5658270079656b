"""What the demo draws from: service times, images a request, users' activity, model loads and a surge's shape.

The rows of ../shared/traces where that folder lies beside the checkout, else the figures fitted to them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from meltguard.core.units import Seconds, Share
from meltguard.sim.spread import Envelope, Spread

BATCH_CLASSES: Final = (1, 2, 4, 8)
"""Images a request, in the classes that service times are known for; a count belongs to the largest not above it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Everything that is drawn. Times are real seconds of the recorded service: `--speed` divides them later."""

    source: str  # printed, and written into the report
    service: Mapping[int, Spread]  # GPU seconds of a request, by batch class
    failed: Spread  # GPU seconds until a request fails
    failure_share: Share
    users: tuple[tuple[int, ...], ...] | None  # each recorded user's requests, as images a request; None: not recorded
    requests_a_user: Spread
    images: Mapping[int, Share]  # of requests, by images a request
    model_load: Spread  # seconds
    envelope: Envelope

    def service_time(self, images: int, chance: Random) -> Seconds:
        """GPU seconds of one request that succeeds."""
        return Seconds(self.service[batch_class(images)].at(Share(chance.random())))

    def mean_service_time(self, images: int, draws: int = 200) -> Seconds:
        """The mean of `service_time`, over evenly spaced draws."""
        spread = self.service[batch_class(images)]
        return Seconds(sum(spread.at(Share((i + 0.5) / draws)) for i in range(draws)) / draws)

    def user(self, chance: Random) -> tuple[int, ...]:
        """One user's requests in their order, as images a request.

        Fitted figures know how many requests users send and how many images requests ask for, not how both go together.
        """
        if self.users is not None:
            return self.users[int(chance.random() * len(self.users))]
        count = max(1, round(self.requests_a_user.at(Share(chance.random()))))
        sizes, weights = list(self.images), list(self.images.values())
        return tuple(chance.choices(sizes, weights, k=count))


def batch_class(images: int) -> int:
    """The class whose service times hold for this many images.

    >>> [batch_class(n) for n in (1, 3, 5, 64)]
    [1, 2, 4, 8]
    """
    return max(known for known in BATCH_CLASSES if known <= max(1, images))
