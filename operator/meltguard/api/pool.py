"""GPUPool: what the platform team lends."""

from typing import ClassVar, Final, Literal

from meltguard.api.fields import DNS_LABEL, matches
from meltguard.api.pool_spec import PoolSpec
from meltguard.api.pool_status import PoolStatus
from meltguard.api.quantities import is_written
from meltguard.api.resource import AGE, API_VERSION, READY, WHY, Column, CustomResource, ObjectMeta, Scope
from meltguard.api.rules import ResourceModel, Rule


class GPUPool(ResourceModel):
    """A set of GPU nodes: which they are, and what may be borrowed, by whom, how far and how gently."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=matches(DNS_LABEL, "self.metadata.name"),
            holds=lambda self: is_written(DNS_LABEL, self.metadata.name),
            message="metadata.name must be at most 63 lower case letters, digits and dashes: "
            "nodes bear it while they are lent; choose such a name",
        ),
    )

    api_version: Literal["meltguard.io/v1alpha1"] = API_VERSION
    """Group and version."""
    kind: Literal["GPUPool"] = "GPUPool"
    """Kind of this object."""
    metadata: ObjectMeta
    """Standard metadata."""
    spec: PoolSpec
    """What is asked for."""
    status: PoolStatus = PoolStatus()
    """What holds now, and why. Written by the operator."""


POOL_RESOURCE: Final = CustomResource(
    kind="GPUPool",
    plural="gpupools",
    short_name="gpool",
    scope=Scope.CLUSTER,
    model=GPUPool,
    columns=(
        READY,
        Column(name="Nodes", type="integer", path=".status.nodes.total", description="Nodes whose home it is."),
        Column(
            name="Ready-Nodes",
            type="integer",
            path=".status.nodes.ready",
            description="Of those, Ready, schedulable and at home.",
        ),
        Column(name="Lent", type="integer", path=".status.nodes.lent", description="Of those, on loan."),
        Column(
            name="Floor",
            type="integer",
            path=".status.nodes.floor",
            description="Ready nodes that always stay.",
        ),
        Column(
            name="Lendable",
            type="integer",
            path=".status.lendable",
            description="Nodes that could be lent now.",
            wide=True,
        ),
        Column(
            name="Hours", type="string", path=".status.hours", description="Whether loans may start now.", wide=True
        ),
        Column(
            name="GPU-Hours",
            type="string",
            path=".status.gpuHoursLent",
            description="Lent so far.",
            wide=True,
        ),
        Column(
            name="On-Order",
            type="integer",
            path=".status.provider.onOrder",
            description="Nodes ordered of the provider and not here yet.",
            wide=True,
        ),
        Column(
            name="Spent-Today",
            type="string",
            path=".status.provider.spentToday",
            description="Booked at the provider for this calendar day.",
            wide=True,
        ),
        WHY,
        AGE,
    ),
    selectable=(),
)
