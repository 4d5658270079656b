"""How long a node that came home is left alone, and a lender that wanted its nodes back."""

from collections.abc import Collection, Mapping
from typing import Final

from meltguard.core.memory import Memory, Recalled
from meltguard.core.units import Instant, NodeName, PoolName, Seconds

REST: Final = Seconds(60.0)
"""A node that came home is not taken again for this long."""

SHORTEST_REST: Final = Seconds(300.0)
LONGEST_REST: Final = Seconds(7200.0)

DAY: Final = Seconds(86_400.0)
"""A recall this long ago is forgiven."""


def rest_ends(rested: Mapping[str, Instant], node: NodeName, now: Instant) -> Instant | None:
    """Until when a node stays at home; None where it may be taken. `rested` says when nodes came home."""
    back = rested.get(node)
    return Instant(back + REST) if back is not None and back + REST > now else None


def rest_of(recalled: Recalled) -> Seconds:
    """How long the lender is not asked after this recall: twice as long each time.

    >>> [rest_of(Recalled(at=Instant(0.0), times=times)) for times in (1, 2, 5, 6)]
    [300.0, 600.0, 4800.0, 7200.0]
    """
    return Seconds(min(LONGEST_REST, SHORTEST_REST * 2.0 ** min(recalled.times - 1, 16)))


def noted(memory: Memory, recalling: Collection[PoolName], now: Instant) -> Mapping[PoolName, Recalled]:
    """The recalls of the last day. One that goes on from the decision before is the same one, and rest follows it."""
    lately = {pool: one for pool, one in memory.recalled.items() if now - one.at < DAY}
    return {**lately, **{pool: _again(lately.get(pool), memory, now) for pool in recalling}}


def _again(before: Recalled | None, memory: Memory, now: Instant) -> Recalled:
    if before is None:
        return Recalled(at=now, times=1)
    goes_on = before.at == memory.decided_at
    return Recalled(at=now, times=before.times if goes_on else before.times + 1)
