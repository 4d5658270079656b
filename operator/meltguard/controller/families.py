"""Metric families made at a scrape from what was seen last: no series outlives what it is about."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

Labels = tuple[str, ...]
SERVICE: Final = ("namespace", "policy")
TIER: Final = (*SERVICE, "tier")
POOL: Final = ("pool",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric: its name without the prefix, what it tells, its labels."""

    name: str
    text: str
    labels: Labels
    counts: bool = False  # a counter, else a gauge


FAMILIES: Final = (
    Family(name="level", text="0 Normal, 1 Elevated, 2 Overloaded, 3 Critical.", labels=SERVICE),
    Family(name="pressure", text="0.7 calm, 1.0 target, 1.5 critical; NaN while unknown.", labels=SERVICE),
    Family(name="mode", text="1 for the mode in effect.", labels=(*SERVICE, "mode")),
    Family(name="capacity_units_per_second", text="Image units that the GPUs can do.", labels=SERVICE),
    Family(name="demand_units_per_second", text="Image units asked for, refused ones included.", labels=TIER),
    Family(name="admitted_units_per_second", text="Image units that went to the GPUs.", labels=TIER),
    Family(name="waiting_units", text="Image units in the serving pods' queues.", labels=TIER),
    Family(name="wait_p99_seconds", text="The worst pod's 99th percentile of the wait.", labels=TIER),
    Family(name="limit_units_per_second", text="Limit of a tier; +Inf where there is none.", labels=TIER),
    Family(name="tier_priority", text="A tier's priority; the highest gives way last.", labels=TIER),
    Family(name="tier_state", text="1 for the state that a tier is in.", labels=(*TIER, "state")),
    Family(name="gpu_busy_ratio", text="Share of the service's GPUs' time that was spent on images.", labels=SERVICE),
    Family(name="signal_pressure", text="Pressure of one signal; NaN while unknown.", labels=(*SERVICE, "signal")),
    Family(name="signal_age_seconds", text="Age of a signal's sample.", labels=(*SERVICE, "signal")),
    Family(
        name="signal_unknown_total",
        text="Passes that had to do without a signal.",
        labels=(*SERVICE, "signal"),
        counts=True,
    ),
    Family(name="feature_share_ratio", text="Share of users who have a feature.", labels=(*SERVICE, "feature")),
    Family(name="rollout_held", text="1 while updates of the service wait.", labels=SERVICE),
    Family(name="update_trial", text="1 for the stage of an update's trial.", labels=(*SERVICE, "stage")),
    Family(
        name="update_cost_ratio",
        text="GPU time for an image of an update against before: least, mean, most; NaN while unknown.",
        labels=(*SERVICE, "bound"),
    ),
    Family(
        name="revision_images_per_gpu_second",
        text="What a busy GPU makes, by revision of the pods, while an update is tried.",
        labels=(*SERVICE, "revision"),
    ),
    Family(
        name="pod_start_seconds",
        text="Learned: from a serving pod's start until its agent answers; NaN while none was seen.",
        labels=SERVICE,
    ),
    Family(name="overrides", text="Overrides in force.", labels=SERVICE),
    Family(name="serving_pods", text="Ready serving pods.", labels=SERVICE),
    Family(name="acknowledged_pods", text="Serving pods that enforce the limits in force.", labels=SERVICE),
    Family(name="laggards", text="Serving pods that have not acknowledged the limits in force.", labels=SERVICE),
    Family(
        name="push_failures_total", text="Pushes not acknowledged, since the term began.", labels=SERVICE, counts=True
    ),
    Family(name="quota_store_down_pods", text="Serving pods whose quota store does not answer.", labels=SERVICE),
    Family(name="loans", text="Nodes on loan, by step.", labels=(*SERVICE, "step")),
    Family(name="loans_overdue", text="Loans past their promised return.", labels=SERVICE),
    Family(name="borrowing_blocked", text="1 for the rule that refuses a wanted loan.", labels=(*SERVICE, "rule")),
    Family(name="condition", text="1 for the status of a condition.", labels=(*SERVICE, "condition", "status")),
    Family(
        name="decisions_total",
        text="What a policy's decisions changed, by reason.",
        labels=(*SERVICE, "reason"),
        counts=True,
    ),
    Family(name="pool_nodes", text="Nodes of a pool: total, ready, lent, and its floor.", labels=(*POOL, "kind")),
    Family(name="pool_lendable_nodes", text="Nodes that a pool could lend now.", labels=POOL),
    Family(name="pool_gpu_hours_lent_total", text="GPU-hours that a pool has lent.", labels=POOL, counts=True),
    Family(name="pool_work_lost_gpu_hours_total", text="Unsaved work that loans cost.", labels=POOL, counts=True),
    Family(name="provider_orders_total", text="Orders of nodes, by result.", labels=(*POOL, "result"), counts=True),
    Family(name="provider_nodes", text="Nodes bought at a provider: on order, here.", labels=(*POOL, "kind")),
    Family(name="provider_spend", text="Booked at a provider for today, this month.", labels=(*POOL, "period")),
    Family(name="provider_blocked", text="1 while nothing can be ordered of a provider.", labels=POOL),
    Family(name="loop_age_seconds", text="Since a loop last finished a pass.", labels=("loop",)),
)
"""Everything but what is counted where it happens; `meltguard_` goes before each name."""


@dataclass(slots=True)
class Samples:
    """Values of one scrape, by family."""

    found: dict[str, list[tuple[Labels, float]]] = field(default_factory=dict)

    def add(self, name: str, labels: Sequence[str], value: float) -> None:
        """One sample."""
        self.found.setdefault(name, []).append((tuple(labels), value))

    def one_of(self, name: str, labels: Sequence[str], held: str, every: Sequence[str]) -> None:
        """1 for the one that holds, 0 for each other."""
        for one in every:
            self.add(name, (*labels, one), float(one == held))

    def families(self) -> Iterator[Metric]:
        """All families, those without samples too, so that help texts are always there."""
        for family in FAMILIES:
            yield _family(family, self.found)


def _family(family: Family, found: Mapping[str, Sequence[tuple[Labels, float]]]) -> Metric:
    kind = CounterMetricFamily if family.counts else GaugeMetricFamily
    made = kind(f"meltguard_{family.name}", family.text, labels=family.labels)
    for labels, value in found.get(family.name, ()):
        made.add_metric(labels, value)
    return made
