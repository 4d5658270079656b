"""The operator's own metrics: names, help texts, units. Series start at zero; label values are bounded."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from meltguard import __version__
from meltguard.controller.enforcer import Enforcement
from meltguard.core.decision import Decision
from meltguard.core.fleet import MoveStep
from meltguard.core.policy import Policy
from meltguard.core.seen import Snapshot

ACK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
PASS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
SERVICE = ("namespace", "policy")
TIER = (*SERVICE, "tier")


class Telemetry:
    """One registry for one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        to = self.registry
        build = Gauge("meltguard_build_info", "Version of the operator.", ["version"], registry=to)
        build.labels(version=__version__).set(1)
        self.leader = Gauge("meltguard_leader", "1 while this process holds the Lease.", registry=to)
        self.epoch = Gauge("meltguard_epoch", "Term of leadership that this process writes under.", registry=to)
        self.level = Gauge("meltguard_level", "0 Normal, 1 Elevated, 2 Overloaded, 3 Critical.", SERVICE, registry=to)
        self.pressure = Gauge("meltguard_pressure", "0.7 calm, 1.0 target, 1.5 critical.", SERVICE, registry=to)
        self.capacity = Gauge(
            "meltguard_capacity_units_per_second", "Image units that the GPUs can do.", SERVICE, registry=to
        )
        self.demand = Gauge(
            "meltguard_demand_units_per_second",
            "Image units asked for, refused ones included.",
            (*SERVICE, "tier"),
            registry=to,
        )
        self.limit = Gauge(
            "meltguard_limit_units_per_second",
            "Limit of a tier; +Inf where there is none.",
            (*SERVICE, "tier"),
            registry=to,
        )
        self.pods = Gauge("meltguard_serving_pods", "Ready serving pods.", SERVICE, registry=to)
        self.acknowledged = Gauge(
            "meltguard_acknowledged_pods", "Serving pods that enforce the limits in force.", SERVICE, registry=to
        )
        self.loans = Gauge("meltguard_loans", "Nodes on loan, by step.", (*SERVICE, "step"), registry=to)
        self.ack_seconds = Histogram(
            "meltguard_limit_ack_seconds",
            "From the begin of a push to a pod's acknowledgement.",
            SERVICE,
            buckets=ACK_BUCKETS,
            registry=to,
        )
        self.pass_seconds = Histogram(
            "meltguard_pass_seconds", "Time of one pass over a service.", SERVICE, buckets=PASS_BUCKETS, registry=to
        )
        self._count(to)

    def _count(self, to: CollectorRegistry) -> None:
        self.steps = Counter("meltguard_move_steps_total", "Steps that moves have entered.", ["step"], registry=to)
        self.evictions = Counter("meltguard_evictions_total", "Pods asked to leave by eviction.", registry=to)
        self.failures = Counter("meltguard_loop_failures_total", "Passes that failed.", ["loop"], registry=to)
        for step in MoveStep:
            self.steps.labels(step=step.value)

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)

    def decided(self, policy: Policy, decision: Decision, seen: Snapshot) -> None:
        """Show one decision."""
        service = (policy.namespace, policy.name)
        self.level.labels(*service).set(int(decision.level))
        self.pressure.labels(*service).set(float("nan") if decision.pressure is None else decision.pressure)
        self.capacity.labels(*service).set(decision.capacity or 0.0)
        for limit in decision.limits:
            self.demand.labels(*service, limit.tier).set(limit.demand)
            self.limit.labels(*service, limit.tier).set(float("inf") if limit.rate is None else limit.rate)
        steps = [node.claim.step for node in seen.loans if node.claim]
        for step in MoveStep:
            self.loans.labels(*service, step.value).set(steps.count(step))

    def enforced(self, policy: Policy, enforcement: Enforcement) -> None:
        """Show how far the limits have come."""
        service = (policy.namespace, policy.name)
        self.pods.labels(*service).set(enforcement.pods)
        self.acknowledged.labels(*service).set(enforcement.acknowledged)
        for took in enforcement.ack_times:
            self.ack_seconds.labels(*service).observe(took)
