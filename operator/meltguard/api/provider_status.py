"""What a pool at another provider must not forget: what was ordered there, and what it costs."""

from typing import Annotated

from pydantic import Field

from meltguard.api.fields import Clipped, ListMap, Moment
from meltguard.api.wire import MessageModel
from meltguard.core.purchases import Stage

Count = Annotated[int, Field(ge=0)]
Sum = Annotated[str, Field(max_length=32)]


class BoughtStatus(MessageModel):
    """One node that was ordered."""

    id: Annotated[str, Field(max_length=32)]
    """The order."""
    stage: Stage
    """How far it is."""
    policy_uid: Annotated[str, Field(max_length=64)] = ""
    """The policy that it was ordered for; none for the pool's own minimum."""
    since: Moment
    """When it was ordered."""
    paid_until: Moment
    """Until when its time is booked."""
    node: Annotated[str, Field(max_length=253)] = ""
    """The node's name, once there is one."""
    node_uid: Annotated[str, Field(max_length=64)] = ""
    """The node's uid."""
    idle_since: Moment | None = None
    """Nobody has needed it since then."""
    expiring: bool = False
    """Its next hour does not fit under the spend caps."""
    why: Annotated[str, Clipped(256)] = ""
    """Why it leaves."""


class SpentStatus(MessageModel):
    """What is booked for one day or month."""

    period: Annotated[str, Field(max_length=10)]
    """2026-11-23, or 2026-11."""
    amount: Sum
    """In the currency of costPerGPUHour."""


class ScaleWriteStatus(MessageModel):
    """A change of replicas that is being made."""

    before: Count
    """Replicas as found."""
    after: Count
    """Replicas as wanted."""
    ids: tuple[str, ...]
    """The orders that it is about."""


class ProviderStatus(MessageModel):
    """What was ordered here, and what it costs."""

    on_order: Count = 0
    """Nodes that were ordered and are not here."""
    here: Count = 0
    """Bought nodes that are here."""
    available: Count = 0
    """Nodes that could be ordered now."""
    spent_today: Sum = "0.00"
    """Booked for this calendar day: what bought nodes have cost, and the hours that are paid ahead."""
    spent_this_month: Sum = "0.00"
    """Booked for this calendar month."""
    cost_per_node_hour: Sum = ""
    """What one node costs for an hour."""
    arrival: Annotated[str, Field(max_length=32)] | None = None
    """Learned: seconds from an order until its node is Ready."""
    reason: Annotated[str, Clipped(64)] = ""
    """Why nothing can be ordered now, in CamelCase; empty where it can."""
    why: Annotated[str, Clipped(512)] = ""
    """The same as a sentence."""
    failures: Count = 0
    """Orders that failed since the last one that arrived."""
    rest_until: Moment | None = None
    """No order before this time."""
    ordered: Count = 0
    """Orders ever."""
    arrived: Count = 0
    """Of those, arrived."""
    failed: Count = 0
    """Of those, failed."""
    days: Annotated[tuple[SpentStatus, ...], ListMap("period"), Field(max_length=64)] = ()
    """What is booked for today and later days."""
    months: Annotated[tuple[SpentStatus, ...], ListMap("period"), Field(max_length=16)] = ()
    """What is booked for this month and later ones."""
    nodes: Annotated[tuple[BoughtStatus, ...], ListMap("id"), Field(max_length=256)] = ()
    """Every node that was ordered and is not gone."""
    write: ScaleWriteStatus | None = None
    """The change of replicas that is being made."""
