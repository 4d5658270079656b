"""What a pool is made of and what it lends: to whom, how far and how gently."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from meltguard.api import fields
from meltguard.api.pool_scale import ScaleRef
from meltguard.api.quantities import DURATION, SHARE, is_written, parse_duration
from meltguard.api.recurring import RecurringSpec
from meltguard.api.rules import Checked, Rule, RuledModel

OURS: Final = "meltguard.io/"
POOL_LABEL: Final = "meltguard.io/pool"
"""The one key under our prefix that pools may use; the others say who may touch a node and where it belongs."""

KUBELETS: Final = ("kubernetes.io/", "beta.kubernetes.io/", "node.kubernetes.io/", "topology.kubernetes.io/")
MOST_NODES: Final = 100_000

_OTHERS: Final = " && ".join(f"!key.startsWith('{prefix}')" for prefix in KUBELETS)


def _key_is_free(key: str) -> bool:
    return key == POOL_LABEL or not key.startswith((OURS, *KUBELETS))


class TaintSpec(RuledModel):
    """A taint on the pool's nodes."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.effect == 'NoSchedule'",
            holds=lambda self: self.effect == "NoSchedule",
            message="effect must be NoSchedule: NoExecute would end pods without the Eviction API "
            "and so bypass their disruption budgets, and PreferNoSchedule would keep nobody out",
        ),
        Rule(
            cel=f"self.key == '{POOL_LABEL}' || !self.key.startsWith('{OURS}')",
            holds=lambda self: self.key == POOL_LABEL or not self.key.startswith(OURS),
            message=f"key of a taint may not begin with {OURS}, which the operator keeps for itself: "
            f"use {POOL_LABEL} or a key of yours",
        ),
    )

    key: Annotated[str, fields.label_key("key")]
    """The taint's key."""
    value: Annotated[str, fields.label_value("value")] = ""
    """The taint's value."""
    effect: Annotated[str, Field(max_length=32)] = "NoSchedule"
    """NoSchedule, the only effect that a pool may use."""


class NodesSpec(RuledModel):
    """Which nodes are the pool's."""

    labels: Annotated[
        dict[str, fields.LabelText],
        Field(min_length=1, max_length=8),
        fields.labels("labels"),
        Checked(
            (
                Rule(
                    cel=f"self.all(key, key == '{POOL_LABEL}' || (!key.startsWith('{OURS}') && {_OTHERS}))",
                    holds=lambda pairs: all(map(_key_is_free, pairs)),
                    message=f"labels may not use keys that begin with {OURS} or {', '.join(KUBELETS)}, "
                    f"which belong to the operator and to Kubernetes: use {POOL_LABEL} or a key of yours",
                ),
            )
        ),
    ]
    """Labels that select the pool's nodes. A borrowed node gets them; it loses them again when it leaves."""
    taints: Annotated[tuple[TaintSpec, ...], Field(max_length=8), fields.ATOMIC] = ()
    """Taints on the pool's nodes. A borrowed node gets them, in place of those of its home."""


class ProviderSpec(RuledModel):
    """Who provides the nodes."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    """Name, for people."""
    cost_per_gpu_hour: Annotated[str, fields.number("costPerGPUHour", "0", "10000", "1.80")] | None = Field(
        default=None, alias="costPerGPUHour"
    )
    """Price of one GPU for one hour, in one currency over all pools: nodes of the dearest go home first."""


class NamespaceSelector(RuledModel):
    """Which namespaces. Labels only: what the platform team allows must be plain to read."""

    match_labels: Annotated[dict[str, fields.LabelText], Field(max_length=16), fields.labels("matchLabels")]
    """Labels and values that a namespace must all have. Empty ({}) means every namespace."""


class BorrowersSpec(RuledModel):
    """Who may borrow."""

    namespace_selector: NamespaceSelector
    """Namespaces whose policies may borrow."""


class OnDeadline(StrEnum):
    """What happens when a node is not empty in time."""

    GIVE_UP = "GiveUp"
    SKIP_NOTICE = "SkipNotice"


class Sacrifice(StrEnum):
    """What may be lost by an eviction."""

    KEEP = "Keep"
    LOSE = "Lose"


class EvictionSpec(RuledModel):
    """How gently running work is asked to leave. Always through the Eviction API."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"!{fields.matches(DURATION, 'self.notice')} || !{fields.matches(DURATION, 'self.deadline')}"
            " || duration(self.notice) < duration(self.deadline)",
            holds=lambda self: parse_duration(self.notice) < parse_duration(self.deadline),
            message="notice must be shorter than deadline, which counts from the claim and includes it: "
            "shorten notice or extend deadline",
        ),
    )

    notice: Annotated[str, fields.duration("notice", "0s", "24h")] = "2m"
    """How long before its eviction a pod is told."""
    minimum_runtime: Annotated[str, fields.duration("minimumRuntime", "0s", "168h")] = "30m"
    """Pods that have run for less are not evicted."""
    deadline: Annotated[str, fields.duration("deadline", "1s", "48h")] = "10m"
    """How long after the claim a node must be empty."""
    on_deadline: OnDeadline = OnDeadline.GIVE_UP
    """GiveUp restores the node and tries another. SkipNotice evicts the rest at once, still within their budgets."""
    local_data: Sacrifice = Sacrifice.KEEP
    """Pods with data on the node's disk (emptyDir that is not memory, hostPath). Keep: their node is not borrowed."""
    last_retry: Sacrifice = Sacrifice.KEEP
    """Jobs that an eviction would fail as a whole (backoffLimit spent). Keep: their nodes are not borrowed."""


class WindowAction(StrEnum):
    """What a window does."""

    ALLOW = "Allow"
    DENY = "Deny"


class WindowSpec(RecurringSpec):
    """A recurring span of time."""

    action: WindowAction
    """Deny starts no loan inside the window. Where any Allow exists, loans start only inside one. Deny wins."""


def _floor_is_sound(floor: Any) -> bool:
    return 0 <= floor <= MOST_NODES if isinstance(floor, int) else is_written(SHARE, floor)


FLOOR: Final = Rule(
    cel=f"type(self) == int ? (int(self) >= 0 && int(self) <= {MOST_NODES}) : {fields.matches(SHARE, 'string(self)')}",
    holds=_floor_is_sound,
    message='floor must be a number of nodes like 4, or a percentage of the pool like "40%"',
)


class LendingSpec(RuledModel):
    """How far the pool lends."""

    floor: Annotated[int | str, Checked((FLOOR,), 8)]
    """Ready, schedulable, unclaimed nodes that always stay: a number, or a percentage of the pool rounded up."""
    max_loans: Annotated[int, Field(ge=0, le=1000)] = 1
    """Most nodes on loan at a time."""
    max_loan_duration: Annotated[str, fields.duration("maxLoanDuration", "1s", "2160h")] = "24h"
    """How long after its claim a node goes home at the latest."""
    borrowers: BorrowersSpec
    """Who may borrow."""
    eviction: EvictionSpec | None = None
    """How gently running work is asked to leave a node. Omitted: only idle nodes are lent, nothing is evicted."""
    windows: Annotated[tuple[WindowSpec, ...], Field(max_length=16), fields.ATOMIC] = ()
    """When loans may start. Omitted: at any time."""


class PoolSpec(RuledModel):
    """A set of GPU nodes and what may be borrowed of it."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.scaleRef) || (has(self.provider) && has(self.provider.costPerGPUHour))",
            holds=lambda self: self.scale_ref is None or bool(self.provider and self.provider.cost_per_gpu_hour),
            message="a pool with scaleRef must say what it costs: set provider.costPerGPUHour",
        ),
    )

    nodes: NodesSpec
    """Which nodes are the pool's."""
    provider: ProviderSpec | None = None
    """Who provides the nodes, at what price."""
    lending: LendingSpec | None = None
    """What the pool lends. Omitted: nothing."""
    scale_ref: ScaleRef | None = None
    """The object that makes this pool larger, where another provider can. What it makes is lent by spec.lending."""
