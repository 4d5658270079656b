"""A pool that another provider makes larger: on what terms."""

from dataclasses import dataclass
from enum import StrEnum

from meltguard.core.units import Gpus, Instant, Money, Seconds


class Removal(StrEnum):
    """How the provider learns which of its nodes is to go."""

    NODE_MARK = "NodeMark"  # it removes nodes that bear our mark, or machines that never became nodes, and no others
    CLUSTER_MACHINE = "ClusterMachine"  # Cluster API: the node's Machine bears its delete annotation
    ANY = "Any"  # it picks by itself: then nothing is asked until every one of the pool's nodes may go


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """The object that makes a pool larger, and how far."""

    api_version: str
    kind: str
    name: str
    namespace: str  # "" where the kind has none
    least: int  # nodes
    most: int
    gpus_per_node: Gpus
    arrive_within: Seconds  # from the order until the node is Ready; later is no capacity
    idle_after: Seconds  # a node that nobody has borrowed for so long leaves again
    removal: Removal
    refused_by: str  # condition of that object which, while True, says that there is no capacity; "" for none
    per_day: Money
    per_month: Money
    time_zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarDay:
    """The day that an instant is in, in the zone of a spend cap."""

    day: str  # 2026-11-23
    ends: Instant

    @property
    def month(self) -> str:
        """The month that it is in: 2026-11."""
        return self.day[:7]
