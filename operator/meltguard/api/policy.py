"""ImageServicePolicy: the wish of the team that runs an image service."""

from typing import ClassVar, Final, Literal

from meltguard.api.fields import DNS_LABEL, matches
from meltguard.api.policy_spec import PolicySpec
from meltguard.api.policy_status import PolicyStatus
from meltguard.api.quantities import is_written
from meltguard.api.resource import AGE, API_VERSION, READY, WHY, Column, CustomResource, ObjectMeta, Scope
from meltguard.api.rules import ResourceModel, Rule


class ImageServicePolicy(ResourceModel):
    """Keeps an image-generation service alive through a surge: limits by tier, GPU nodes borrowed and given back."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=matches(DNS_LABEL, "self.metadata.name"),
            holds=lambda self: is_written(DNS_LABEL, self.metadata.name),
            message="metadata.name must be at most 63 lower case letters, digits and dashes: "
            "quotas, documents and loans are kept under it; choose such a name",
        ),
    )

    api_version: Literal["meltguard.io/v1alpha1"] = API_VERSION
    """Group and version."""
    kind: Literal["ImageServicePolicy"] = "ImageServicePolicy"
    """Kind of this object."""
    metadata: ObjectMeta
    """Standard metadata."""
    spec: PolicySpec
    """What is asked for."""
    status: PolicyStatus = PolicyStatus()
    """What holds now, and why. Written by the operator."""


POLICY_RESOURCE: Final = CustomResource(
    kind="ImageServicePolicy",
    plural="imageservicepolicies",
    short_name="isp",
    scope=Scope.NAMESPACED,
    model=ImageServicePolicy,
    columns=(
        READY,
        Column(name="Mode", type="string", path=".status.mode", description="Mode in effect."),
        Column(name="Level", type="string", path=".status.level", description="How hard the service is pressed."),
        Column(
            name="Limits",
            type="string",
            path=".status.acknowledged",
            description="Serving pods that have acknowledged the limits in force, of those that are Ready.",
        ),
        Column(name="Loans", type="integer", path=".status.loanCount", description="Nodes on loan to this policy."),
        Column(
            name="Pressure",
            type="string",
            path=".status.pressure",
            description="0.7 calm, 1.0 target, 1.5 critical.",
            wide=True,
        ),
        Column(
            name="Throttling",
            type="string",
            path='.status.conditions[?(@.type=="Throttling")].status',
            description="Whether any tier is limited.",
            wide=True,
        ),
        Column(
            name="Revision",
            type="integer",
            path=".status.revision",
            description="Revision of the limits in force.",
            wide=True,
        ),
        Column(
            name="Last-Change",
            type="date",
            path=".status.lastChange",
            description="Time since level, a limit or a loan changed.",
            wide=True,
        ),
        WHY,
        AGE,
    ),
    selectable=(".spec.mode", ".spec.capacity.pool"),
)
