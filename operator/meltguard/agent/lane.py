"""What a tier's requests must pass where nobody waits. Values and pure functions."""

import math
import sys
from dataclasses import dataclass

from meltguard.agent.bucket import Bucket
from meltguard.agent.rates import REJECT_NEEDS
from meltguard.api.limit_document import TierLimit, TierState
from meltguard.core.units import Units


@dataclass(frozen=True, slots=True)
class Lane:
    """A tier's way straight into the GPU."""

    most: int  # requests of the tier in the GPU at once; 0 where it is suspended
    rate: Bucket | None
    needs: Units  # the rate's bucket must hold so much of a request at most
    maximum: Bucket | None


def lane_of(rule: TierLimit, rate: Bucket | None, maximum: Bucket | None) -> Lane:
    """A tier's lane, with the buckets of its rate and of its own maximum."""
    most = sys.maxsize if rule.concurrency is None else rule.concurrency
    return Lane(
        most=0 if rule.state is TierState.SUSPEND else most,
        rate=rate,
        needs=Units(REJECT_NEEDS if rule.state is TierState.REJECT else math.inf),
        maximum=maximum,
    )
