"""How a pool grows at another provider: which object makes its nodes, how far, and what that may cost."""

from typing import Annotated, ClassVar

from pydantic import Field

from meltguard.api import fields
from meltguard.api.quantities import NUMBER, parse_number
from meltguard.api.rules import Rule, RuledModel
from meltguard.core.scaling import Removal

MOST_MONEY = "100000000"


class SpendSpec(RuledModel):
    """Most that may be spent here, in the currency of costPerGPUHour. What is not known to fit is not ordered."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"!{fields.matches(NUMBER, 'self.perDay')} || !{fields.matches(NUMBER, 'self.perMonth')}"
            " || double(self.perDay) <= double(self.perMonth)",
            holds=lambda self: parse_number(self.per_day) <= parse_number(self.per_month),
            message="perDay must not be above perMonth: lower perDay or raise perMonth",
        ),
    )

    per_day: Annotated[str, fields.number("perDay", "0", MOST_MONEY, "200")]
    """Most in one calendar day."""
    per_month: Annotated[str, fields.number("perMonth", "0", MOST_MONEY, "2000")]
    """Most in one calendar month."""
    time_zone: Annotated[str, fields.time_zone("timeZone")] = "UTC"
    """IANA name of the time zone that days and months are counted in."""


class ScaleRef(RuledModel):
    """The object that makes this pool larger, through its scale subresource."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.min <= self.max",
            holds=lambda self: self.least <= self.most,
            message="min must not be above max: swap them or raise max",
        ),
    )

    api_version: Annotated[str, Field(min_length=1, max_length=128)]
    """Group and version, like cluster.x-k8s.io/v1beta2."""
    kind: Annotated[str, Field(min_length=1, max_length=63)]
    """Kind, like MachineDeployment."""
    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name."""
    namespace: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """Namespace. Left out where the kind has none."""
    least: Annotated[int, Field(ge=0, le=1000)] = Field(default=0, alias="min")
    """Fewest nodes; the spend caps go before it."""
    most: Annotated[int, Field(ge=0, le=1000)] = Field(alias="max")
    """Most nodes, those of others included."""
    gpus_per_node: Annotated[int, Field(ge=1, le=64)] = Field(alias="gpusPerNode")
    """GPUs of each node that it makes. Times costPerGPUHour, it is what a node costs for an hour."""
    spend: SpendSpec
    """Most that may be spent."""
    arrive_within: Annotated[str, fields.duration("arriveWithin", "1s", "24h")] = "15m"
    """From an order until its node is Ready. After it there is no capacity here, and the next provider is asked."""
    idle_after: Annotated[str, fields.duration("idleAfter", "10s", "24h")] = "10m"
    """How long nobody has needed a bought node before it leaves: longer than who ordered it takes to claim it."""
    removal: Removal = Removal.ANY
    """How the provider learns which node is to go. NodeMark: it removes only nodes annotated meltguard.io/leaving, or
    machines that never became nodes. ClusterMachine: Cluster API's annotation on the Machine. Any: it picks by itself;
    then it is asked only once every node of the pool may go."""
    refused_by: Annotated[str, Field(min_length=1, max_length=316)] | None = None
    """Condition of the object that, while True, says that there is no capacity."""
