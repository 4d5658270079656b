"""The operator's own metrics: names, help texts, units. Series start at zero; label values are bounded."""

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from meltguard import __version__
from meltguard.api.conditions import Condition
from meltguard.api.pool_status import PoolStatus
from meltguard.controller import service_samples
from meltguard.controller.enforcer import Enforcement
from meltguard.controller.events import Reason
from meltguard.controller.families import SERVICE, Samples
from meltguard.core.decision import Decision
from meltguard.core.fleet import MoveStep
from meltguard.core.policy import Policy
from meltguard.core.seen import Snapshot
from meltguard.core.units import Seconds

ACK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
PASS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
RELEASED = "Released"
LOOPS = ("roll-call", "moves", "pools", "providers", "rollouts", "newcomers", "service")


@dataclass(slots=True)
class Shown:
    """What a policy's last pass left to be seen."""

    policy: Policy
    decision: Decision
    seen: Snapshot
    enforcement: Enforcement
    conditions: tuple[Condition, ...] = ()
    told: Tally[Reason] = field(default_factory=Tally)
    unknown: Tally[str] = field(default_factory=Tally)  # passes without a signal, by its name


class Telemetry(Collector):
    """One registry for one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._services: dict[str, Shown] = {}  # by policy uid
        self._pools: Mapping[str, PoolStatus] = {}
        self._loops: Callable[[], Mapping[str, Seconds]] = dict
        to = self.registry
        to.register(self)
        build = Gauge("meltguard_build_info", "Version of the operator.", ["version"], registry=to)
        build.labels(version=__version__).set(1)
        self.leader = Gauge("meltguard_leader", "1 while this process holds the Lease.", registry=to)
        self.epoch = Gauge("meltguard_epoch", "Term of leadership that this process writes under.", registry=to)
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
        self.loop_seconds = Histogram(
            "meltguard_loop_seconds", "Time of one pass of a loop.", ["loop"], buckets=PASS_BUCKETS, registry=to
        )
        self._count(to)

    def _count(self, to: CollectorRegistry) -> None:
        self.steps = Counter("meltguard_move_steps_total", "Steps that moves have entered.", ["step"], registry=to)
        self.evictions = Counter("meltguard_evictions_total", "Pods asked to leave by eviction.", registry=to)
        self._events = Counter("meltguard_events_total", "Events posted, by reason.", ["reason"], registry=to)
        self.failures = Counter("meltguard_loop_failures_total", "Passes that failed.", ["loop"], registry=to)
        for step in (*(step.value for step in MoveStep), RELEASED):
            self.steps.labels(step=step)
        for reason in Reason:
            self._events.labels(reason=reason.value)
        for loop in LOOPS:
            self.failures.labels(loop=loop)
            self.loop_seconds.labels(loop=loop)

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)

    def watch_loops(self, ages: Callable[[], Mapping[str, Seconds]]) -> None:
        """From now on show how long ago each loop finished a pass."""
        self._loops = ages

    def decided(self, policy: Policy, decision: Decision, seen: Snapshot, enforcement: Enforcement) -> None:
        """Show one pass over a service."""
        service = (policy.namespace, policy.name)
        shown = self._services.setdefault(policy.uid, Shown(policy, decision, seen, enforcement))
        shown.policy, shown.decision, shown.seen, shown.enforcement = policy, decision, seen, enforcement
        shown.unknown.update(signal.name for signal in decision.signals if signal.pressure is None)
        pushes = self.ack_seconds.labels(*service)
        for took in enforcement.ack_times:
            pushes.observe(took)

    def posted(self, reason: Reason) -> None:
        """Count one Event, about whatever object."""
        self._events.labels(reason=reason.value).inc()

    def told(self, policy: Policy, reason: Reason) -> None:
        """Count one change of a policy that was told."""
        shown = self._services.get(policy.uid)
        if shown is not None:
            shown.told[reason] += 1

    def conditioned(self, policy: Policy, conditions: tuple[Condition, ...]) -> None:
        """Show a policy's conditions."""
        shown = self._services.get(policy.uid)
        if shown is not None:
            shown.conditions = conditions

    def pools(self, statuses: Mapping[str, PoolStatus]) -> None:
        """Show the pools that there are, by name."""
        self._pools = dict(statuses)

    def forget(self, policy: Policy) -> None:
        """A policy is gone, and its series with it."""
        self._services.pop(policy.uid, None)
        for family in (self.ack_seconds, self.pass_seconds):
            family.remove_by_labels({"namespace": policy.namespace, "policy": policy.name})

    @override
    def collect(self) -> Iterator[Metric]:
        """What the last passes left."""
        samples = Samples()
        for shown in self._services.values():
            service_samples.add(samples, shown)
        for name, status in self._pools.items():
            service_samples.add_pool(samples, name, status)
        for loop, age in self._loops().items():
            samples.add("loop_age_seconds", (loop,), age)
        yield from samples.families()
