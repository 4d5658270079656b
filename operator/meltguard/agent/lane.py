"""What a tier's requests must pass where nobody waits, and how its rate binds them. Values and pure functions."""

import math
import sys
from dataclasses import dataclass
from typing import Final

from meltguard.agent.bucket import Bucket
from meltguard.api.limit_document import TierLimit, TierState
from meltguard.core.units import Units

REJECT_NEEDS: Final = 1.0  # image units in the bucket, for a request of any size


@dataclass(frozen=True, slots=True)
class Lane:
    """A tier's way straight into the GPU."""

    most: int  # requests of the tier in the GPU at once; 0 where it is suspended
    rate: Bucket | None
    needs: Units  # the rate's bucket must hold so much of a request at most
    maximum: Bucket | None


def lane_of(rule: TierLimit, rate: Bucket | None, maximum: Bucket | None) -> Lane:
    """A tier's lane; the buckets are those that its rate and its own maximum have, or had."""
    most = sys.maxsize if rule.concurrency is None else rule.concurrency
    return Lane(
        most=0 if rule.state is TierState.SUSPEND else most,
        rate=rate if binds(rule) else None,
        needs=Units(REJECT_NEEDS if rule.state is TierState.REJECT else math.inf),
        maximum=maximum if rule.max_rate is not None else None,
    )


def needed(rule: TierLimit, units: Units) -> Units:
    """What the bucket must hold: in Reject one image unit will do, the rest becomes debt.

    Nobody waits there for more to gather, and small requests would keep large ones out for ever.
    """
    return Units(min(units, REJECT_NEEDS)) if rule.state is TierState.REJECT else units


def binds(rule: TierLimit) -> bool:
    """Whether the tier's rate holds requests back."""
    return rule.rate is not None and rule.state in {TierState.DELAY, TierState.REJECT}
