"""What the operator says about a pool."""

from typing import Annotated

from pydantic import Field

from meltguard.api.conditions import Conditions
from meltguard.api.fields import ATOMIC, Clipped, ListMap, Moment
from meltguard.api.provider_status import ProviderStatus
from meltguard.api.stopped import StoppedWorks
from meltguard.api.wire import MessageModel
from meltguard.core.fleet import MoveStep
from meltguard.core.policy import WindowAction

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
    gpu_hours: Annotated[str, Clipped(32)] | None = None
    """Whole GPU-hours that the borrower has had so far."""
    work_lost: Annotated[str, Clipped(32)] | None = None
    """Whole GPU-hours of unsaved work that its evictions cost."""
    stopped: StoppedWorks = ()
    """Whose work it broke off, the five that lost most."""
    node_uid: Annotated[str, Clipped(64)] | None = None
    """The node's uid: another node of the same name owes nothing."""
    way_home: Annotated[str, Clipped(16384)] | None = None
    """A copy of the claim on the node, with its labels, taints and cordon as they were before."""


class PastLoanStatus(MessageModel):
    """One loan that has ended, or a move that was undone."""

    move: Annotated[str, Clipped(64)]
    """The move's id."""
    node: Annotated[str, Clipped(253)]
    """The node's name."""
    policy: Annotated[str, Clipped(127)]
    """The policy that it was lent to, as namespace/name."""
    since: Moment
    """When it was claimed."""
    until: Moment
    """When it was home again."""
    gpu_hours: Annotated[str, Clipped(32)]
    """GPU-hours that the borrower had."""
    work_lost: Annotated[str, Clipped(32)]
    """GPU-hours of unsaved work that its evictions cost."""
    why: Annotated[str, Clipped(512)]
    """Why it ended."""
    stopped: StoppedWorks = ()
    """Whose work it broke off, the five that lost most."""


class LedgerStatus(MessageModel):
    """Everything that the pool ever lent."""

    loans: Count
    """Loans that have ended."""
    gpu_hours_lent: Annotated[str, Clipped(32)]
    """GPU-hours lent by them."""
    work_lost: Annotated[str, Clipped(32)]
    """GPU-hours of unsaved work that was evicted for them."""
    gpu_hours_lately: Annotated[str, Clipped(32)] | None = None
    """Of the GPU-hours, those that weigh now: half is forgotten each day. Of several lenders, who lent least lends."""
    recent: Annotated[tuple[PastLoanStatus, ...], ListMap("move"), Clipped(128)] = ()
    """The last 16, and up to 128 that ended within ten minutes; youngest last."""


class WindowStatus(MessageModel):
    """One opening of a window."""

    action: WindowAction
    """Deny starts no loan in it, Allow lets loans start."""
    opens: Moment
    """When it opens."""
    closes: Moment
    """When it closes."""


class PoolStatus(MessageModel):
    """What holds now, and why."""

    observed_generation: Count | None = None
    """metadata.generation that this status is about."""
    conditions: Conditions = ()
    """Ready, FloorKept, Overlapping; ProviderReady where there is a scaleRef, QuotaFollows where there is kueue."""
    nodes: NodeCounts | None = None
    """The pool's nodes, counted."""
    lendable: Count | None = None
    """Nodes that could be lent now."""
    loans: Annotated[tuple[PoolLoan, ...], ListMap("node"), Clipped(32)] = ()
    """The nodes that are lent; the first 32 where there are more."""
    hours: Annotated[str, Clipped(256)] | None = None
    """Whether loans may start now, by the pool's windows, and until when that holds."""
    windows: Annotated[tuple[WindowStatus, ...], Clipped(3), ATOMIC] = ()
    """The windows that are open or come next."""
    gpu_hours_lent: Annotated[str, Clipped(32)] | None = None
    """Whole GPU-hours lent so far, by loans that have ended and by those that are open."""
    ledger: LedgerStatus | None = None
    """Everything that the pool ever lent."""
    provider: ProviderStatus | None = None
    """What was ordered of the provider, and what it costs."""
    why: Annotated[str, Clipped(1024)] | None = None
    """What the pool lends, and why no more. In one line."""
