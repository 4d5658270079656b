"""Nodes and the serving pods on them: what is there, how hot it is, what a platform would say of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

from meltguard.core.policy import Policy, SignalKind
from meltguard.core.seen import Reading
from meltguard.core.units import Celsius, Gpus, NodeName, PodUid, Seconds
from meltguard.sim.changes import Change, Heat, Loan, Loss, Restart
from meltguard.sim.door import Door, DoorMaker
from meltguard.sim.heat import BUSY_CLOCK, SLOW_CLOCK, SLOWDOWN, Thermal
from meltguard.sim.requests import Request

SCRAPE: Final = Seconds(10.0)
"""How often platform metrics are measured."""

COOLED: Final = Thermal(idle=Celsius(34.0), loaded=Celsius(74.0), time_constant=Seconds(60.0))
LATEST: Final = Seconds(2.0)


@dataclass(slots=True, eq=False)
class Pod:
    """One serving pod."""

    uid: PodUid
    node: NodeName
    gpus: Gpus
    door: Door
    ready: bool = True
    open: int = 0  # requests in its GPUs or waiting here
    running: dict[int, tuple[Request, Seconds]] = field(default_factory=dict)
    worked: float = 0.0  # GPU-seconds
    worked_at: Seconds = Seconds(0.0)
    temperature: Celsius = COOLED.idle
    thermal: Thermal = COOLED
    turn_at: Seconds | None = None  # when its door is asked again by time alone

    @property
    def speed(self) -> float:
        """Of its GPUs, as a share of full clocks."""
        return SLOW_CLOCK / BUSY_CLOCK if self.temperature >= SLOWDOWN else 1.0

    def account(self, at: Seconds) -> None:
        """Count the work since the last call; to be called before `running` changes."""
        self.worked += len(self.running) * (at - self.worked_at)
        self.worked_at = at


Event = tuple[Seconds, Callable[[Seconds], None]]
Emptying = Callable[[Pod, Seconds], None]


class Fleet:
    """All pods, ready or not."""

    def __init__(self, gpus_per_pod: Gpus, gpus_per_node: Gpus, doors: DoorMaker, thermal: Thermal = COOLED) -> None:
        self._per_pod, self._per_node, self._doors = gpus_per_pod, gpus_per_node, doors
        self._thermal = thermal  # of every card, unless a Heat says otherwise
        self._nodes: dict[NodeName, list[Pod]] = {}
        self._busy: dict[PodUid, float] = {}
        # When, heat by node, per cent used.
        self._measured: tuple[Seconds, dict[NodeName, float], float] | None = None

    def all(self) -> Iterator[Pod]:
        """Every pod that ever was."""
        return (pod for pods in self._nodes.values() for pod in pods)

    def ready(self) -> list[Pod]:
        """Those that requests are sent to."""
        return [pod for pod in self.all() if pod.ready]

    def gpus(self) -> Gpus:
        """Of the ready pods."""
        return Gpus(sum(pod.gpus for pod in self.ready()))

    def hottest(self) -> Celsius:
        """Of the ready pods' cards."""
        return Celsius(max((pod.temperature for pod in self.ready()), default=0.0))

    def add(self, node: NodeName, at: Seconds) -> None:
        """A node's pods become ready."""
        self._nodes[node] = [
            self._made(PodUid(f"{node}-{number}"), node, at) for number in range(self._per_node // self._per_pod)
        ]

    def open(self, uid: PodUid, node: NodeName, at: Seconds) -> None:
        """One pod becomes ready, beside those that the node has."""
        self._nodes.setdefault(node, []).append(self._made(uid, node, at))

    def _made(self, uid: PodUid, node: NodeName, at: Seconds) -> Pod:
        return Pod(
            uid=uid,
            node=node,
            gpus=self._per_pod,
            door=self._doors(uid, self._per_pod, at),
            worked_at=at,
            thermal=self._thermal,
        )

    def pod(self, uid: PodUid) -> Pod:
        """The pod of this name, which is there."""
        return next(pod for pod in self.all() if pod.uid == uid)

    def remove(self, pod: Pod) -> None:
        """A pod that nothing runs in is gone, and with its last pod the node."""
        self._busy.pop(pod.uid, None)
        left = [other for other in self._nodes.pop(pod.node) if other is not pod]
        if left:
            self._nodes[pod.node] = left

    def plan(self, change: Change, empty: Emptying) -> Sequence[Event]:
        """When a change begins and ends, and what it then does. `empty` sends a pod's waiting requests elsewhere."""
        names = list(self._nodes)
        match change:
            case Loss(nodes=nodes, since=since, until=until):
                lost = [names[number] for number in nodes]
                return (since, lambda at: self.close(self._on(lost), empty, at)), (until, lambda _: self._reopen(lost))
            case Loan(claimed=claimed, load=load, until=until):
                name = NodeName(f"lent-{claimed:.0f}-{load:.2f}-{until:.0f}")
                return (Seconds(claimed + load), lambda at: self.add(name, at)), (
                    until,
                    lambda at: self.close(self._on([name]), empty, at),
                )
            case Heat(node=node, since=since, until=until, loaded=loaded):
                worse = replace(self._thermal, loaded=loaded)
                return (since, lambda _: self._cool(names[node], worse)), (
                    until,
                    lambda _: self._cool(names[node], self._thermal),
                )
            case Restart():
                return ()
            case _:
                assert_never(change)

    def close(self, pods: Sequence[Pod], empty: Emptying, at: Seconds) -> None:
        """These pods take no more requests; what waits there is sent to others."""
        for pod in pods:
            pod.ready = False
        for pod in pods:
            empty(pod, at)

    def _on(self, names: Sequence[NodeName]) -> list[Pod]:
        return [pod for name in names for pod in self._nodes.get(name, ())]

    def _reopen(self, names: Sequence[NodeName]) -> None:
        for name in names:
            for pod in self._nodes[name]:
                pod.ready = True

    def _cool(self, name: NodeName, thermal: Thermal) -> None:
        for pod in self._nodes[name]:
            pod.thermal = thermal

    def warm(self, span: Seconds) -> None:
        """Every card takes or loses heat for a span, by whether most of its pod works now."""
        for pod in self.all():
            at_work = 2 * len(pod.running) >= pod.gpus
            pod.temperature = pod.thermal.after(pod.temperature, span, busy=at_work)

    def busy_since(self, at: Seconds) -> float:
        """GPU-seconds that the ready pods worked since this was last asked."""
        total = 0.0
        for pod in self.all():
            pod.account(at)
            if pod.ready:
                total += pod.worked - self._busy.get(pod.uid, 0.0)
            self._busy[pod.uid] = pod.worked
        return total

    def readings(self, policy: Policy, at: Seconds) -> tuple[Reading, ...]:
        """The platform's signals, as old as a scrape lets them be."""
        if self._measured is None or at - self._measured[0] >= SCRAPE:
            gpus = self.gpus()
            used = 100.0 * sum(len(pod.running) for pod in self.ready()) / gpus if gpus else 0.0
            self._measured = (at, self._heats(), used)
        taken, heats, used = self._measured
        age = Seconds(at - taken + LATEST)
        return tuple(
            Reading(signal=signal.name, value=max(heats.values(), default=0.0), age=age, by_node=heats)
            if signal.kind is SignalKind.GPU_TEMPERATURE
            else Reading(signal=signal.name, value=used, age=age)
            for signal in policy.signals
            if signal.kind in {SignalKind.GPU_TEMPERATURE, SignalKind.GPU_UTILIZATION}
        )

    def _heats(self) -> dict[NodeName, float]:
        pods = [(node, pod.temperature) for node, pods in self._nodes.items() for pod in pods if pod.ready]
        return {node: max(heat for of, heat in pods if of == node) for node, _ in pods}
