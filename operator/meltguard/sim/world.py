"""The world: requests come, pods serve them, every two seconds the law looks and its limits are pushed."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from meltguard.core.decision import Decision
from meltguard.core.memory import Memory
from meltguard.core.policy import Level, Policy
from meltguard.core.seen import Snapshot
from meltguard.core.units import Epoch, Gpus, Instant, NodeName, Seconds
from meltguard.sim.changes import Change, Restart
from meltguard.sim.door import DoorMaker
from meltguard.sim.fleet import COOLED, Fleet
from meltguard.sim.heat import Thermal
from meltguard.sim.ledger import Ledger, Sample, TierSums
from meltguard.sim.lenders import Lenders, Nobody
from meltguard.sim.reports import Reports
from meltguard.sim.requests import Request
from meltguard.sim.serving import Serving
from meltguard.sim.stage import ServiceStage
from meltguard.sim.steering import Pusher, Steering, SteeringMaker

TICK: Final = Seconds(2.0)
DAWN: Final = Instant(1_000_000.0)
"""The time of day at which a run starts, unless its setting says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A service and what happens to it."""

    policy: Policy
    nodes: int
    gpus_per_node: Gpus
    requests: Callable[[], Iterator[Request]]
    until: Seconds
    changes: tuple[Change, ...] = ()
    lag: Seconds = Seconds(0.0)  # of what the agents say
    dawn: Instant = DAWN  # the time of day at which it starts
    thermal: Thermal = COOLED  # of every card


class World:
    """One run of one setting under one steering."""

    def __init__(
        self, setting: Setting, steered_by: SteeringMaker, doors: DoorMaker, lenders: Lenders | None = None
    ) -> None:
        self._setting, self._steered_by = setting, steered_by
        self._lenders = lenders or Nobody()
        self.ledger = Ledger(tiers={tier.name: TierSums() for tier in setting.policy.tiers})
        self._events: list[tuple[Seconds, int, Callable[[Seconds], None]]] = []
        self._count = 0
        self._fleet = Fleet(setting.policy.gpus_per_pod, setting.gpus_per_node, doors, setting.thermal)
        waits = {tier.name: tier.max_wait for tier in setting.policy.tiers}
        self._serving = Serving(self._fleet, self.ledger, self._at, waits)
        self._requests = setting.requests()
        self._steering: Steering | None = steered_by(Memory())
        self._pusher = Pusher(policy=setting.policy, epoch=Epoch(1))
        self._reports = Reports(lag=setting.lag)
        self._decision: Decision | None = None

    def run(self) -> Ledger:
        """Until the setting's end; what waits or runs then is left so."""
        for number in range(self._setting.nodes):
            self._fleet.add(NodeName(f"gpu-{number:02}"), Seconds(0.0))
        for change in self._setting.changes:
            self._plan(change)
        self._lenders.begin(ServiceStage(self._fleet, self._serving, self._at))
        self._at(Seconds(0.0), self._tick)
        self._next_request()
        while self._events and self._events[0][0] < self._setting.until:
            at, _, happens = heapq.heappop(self._events)
            happens(at)
        self.ledger.waiting = sum(len(pod.door.waiting()) for pod in self._fleet.all())
        return self.ledger

    def _at(self, at: Seconds, happens: Callable[[Seconds], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (at, self._count, happens))

    def _next_request(self) -> None:
        request = next(self._requests, None)
        if request is not None:
            self._at(request.at, lambda at: self._come(request, at))

    def _come(self, request: Request, at: Seconds) -> None:
        self._serving.come(request, at)
        self._next_request()

    def _plan(self, change: Change) -> None:
        if isinstance(change, Restart):
            self._at(change.at, lambda _: self._stop())
            self._at(Seconds(change.at + change.down), lambda _: self._start(change))
        else:
            for at, happens in self._fleet.plan(change, self._serving.empty):
                self._at(at, happens)

    def _stop(self) -> None:
        self._steering = None

    def _start(self, change: Restart) -> None:
        memory = self._decision.memory if change.remembers and self._decision else Memory()
        self._steering = self._steered_by(memory)
        self._pusher = Pusher(policy=self._setting.policy, epoch=Epoch(self._pusher.epoch + 1))
        self._reports = Reports(lag=self._setting.lag)

    def _tick(self, at: Seconds) -> None:
        self._at(Seconds(at + TICK), self._tick)
        self._fleet.warm(TICK)
        if self._steering is not None:
            self._steer(self._steering, at)
        self._sample(at)

    def _steer(self, steering: Steering, at: Seconds) -> None:
        ready = {pod.uid: pod for pod in self._fleet.ready()}
        for pod in ready.values():
            self._reports.record(pod.door.counters(at), at)
        loads = self._reports.loads({uid: pod.node for uid, pod in ready.items()}, at)
        seen = Snapshot(
            ready_pods=len(ready),
            loads=loads,
            readings=self._fleet.readings(self._setting.policy, at),
            pools={},
            loans=(),
            namespace_labels={},
            workload=None,
            fleet_age=Seconds(0.0),
        )
        now = Instant(self._setting.dawn + at)
        self._decision = steering(self._lenders.shown(seen, now), now)
        self._lenders.decided(self._decision, at)
        if self._decision.learning:
            return
        for uid, grant in self._pusher.due(self._decision, list(ready), loads):
            self._serving.obey(ready[uid], grant, at)

    def _sample(self, at: Seconds) -> None:
        decision = self._decision
        self.ledger.samples.append(
            Sample(
                at=at,
                gpus=self._fleet.gpus(),
                busy=self._fleet.busy_since(at),
                span=TICK if at > 0 else Seconds(0.0),
                offered=self._serving.offered_since(),
                rates=dict(self._pusher.force.totals),
                level=decision.level if decision else Level.NORMAL,
                capacity=decision.capacity if decision else None,
                trim=decision.memory.trim if decision else 1.0,
                hottest=self._fleet.hottest(),
            )
        )
