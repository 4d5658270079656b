"""What the operator says about a pool."""

from typing import Annotated

from pydantic import Field

from meltguard.api.conditions import Conditions
from meltguard.api.fields import Clipped, ListMap, Moment
from meltguard.api.wire import MessageModel
from meltguard.core.fleet import MoveStep

Count = Annotated[int, Field(ge=0)]


class NodeCounts(MessageModel):
    """The pool's nodes, counted."""

    total: Count
    """Nodes whose home it is, lent ones included."""
    ready: Count
    """Ready, schedulable and unclaimed nodes: what the floor counts."""
    lent: Count
    """Nodes under a claim, wherever they are on their way."""
    floor: Count
    """Ready nodes that always stay; 0 where the pool lends nothing."""


class PoolLoan(MessageModel):
    """One node that is lent."""

    node: Annotated[str, Clipped(253)]
    """The node's name."""
    policy: Annotated[str, Clipped(127)]
    """The policy that it is lent to, as namespace/name."""
    step: MoveStep
    """How far its move is."""
    since: Moment
    """When it was claimed."""
    promised_return: Moment
    """When it comes home at the latest."""


class PoolStatus(MessageModel):
    """What holds now, and why."""

    observed_generation: Count | None = None
    """metadata.generation that this status is about."""
    conditions: Conditions = ()
    """Ready, FloorKept, Overlapping."""
    nodes: NodeCounts | None = None
    """The pool's nodes, counted."""
    lendable: Count | None = None
    """Nodes that could be lent now."""
    loans: Annotated[tuple[PoolLoan, ...], ListMap("node"), Clipped(32)] = ()
    """The nodes that are lent; the first 32 where there are more."""
    why: Annotated[str, Clipped(1024)] | None = None
    """What the pool lends, and why no more. In one line."""
