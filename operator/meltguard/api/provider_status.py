"""What a pool at another provider must not forget: what was ordered there, and what it costs."""

from typing import Annotated

from pydantic import Field

from meltguard.api.fields import ATOMIC, Clipped, ListMap, Moment
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
    policy_uid: Annotated[str, Field(max_length=64)] | None = None
    """The policy that it was ordered for; none for the pool's own minimum."""
    since: Moment
    """When it was ordered."""
    paid_until: Moment
    """Until when its time is booked."""
    node: Annotated[str, Field(max_length=253)] | None = None
    """The node's name, once there is one."""
    node_uid: Annotated[str, Field(max_length=64)] | None = None
    """The node's uid."""
    idle_since: Moment | None = None
    """Nobody has needed it since then."""
    expiring: bool | None = None
    """Its next hour does not fit under the spend caps."""
    why: Annotated[str, Clipped(256)] | None = None
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
    ids: Annotated[tuple[Annotated[str, Field(max_length=32)], ...], Field(max_length=256), ATOMIC]
    """The orders that it is about."""


class ProviderStatus(MessageModel):
    """What was ordered here, and what it costs."""

    on_order: Count
    """Nodes that were ordered and are not here."""
    here: Count
    """Bought nodes that are here."""
    available: Count
    """Nodes that could be ordered now."""
    spent_today: Sum
    """Booked for this calendar day: what bought nodes have cost, and the hours that are paid ahead."""
    spent_this_month: Sum
    """Booked for this calendar month."""
    cost_per_node_hour: Sum | None = None
    """What one node costs for an hour."""
    arrival: Annotated[str, Field(max_length=32)] | None = None
    """Learned: seconds from an order until its node is Ready."""
    reason: Annotated[str, Clipped(64)] | None = None
    """Why nothing can be ordered now, in CamelCase; empty where it can."""
    why: Annotated[str, Clipped(512)] | None = None
    """The same as a sentence."""
    failures: Count
    """Orders that failed since the last one that arrived."""
    rest_until: Moment | None = None
    """No order before this time."""
    ordered: Count
    """Orders ever."""
    arrived: Count
    """Of those, arrived."""
    failed: Count
    """Of those, failed."""
    days: Annotated[tuple[SpentStatus, ...], Field(max_length=64), ListMap("period")] = ()
    """What is booked for today and later days."""
    months: Annotated[tuple[SpentStatus, ...], Field(max_length=16), ListMap("period")] = ()
    """What is booked for this month and later ones."""
    nodes: Annotated[tuple[BoughtStatus, ...], Field(max_length=256), ListMap("id")] = ()
    """Every node that was ordered and is not gone."""
    write: ScaleWriteStatus | None = None
    """The change of replicas that is being made."""
