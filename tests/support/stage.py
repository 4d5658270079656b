"""A stage without a simulator: what is planned happens as the test lets time pass, and pods are as busy as it says."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from typing_extensions import override

from meltguard.core.units import NodeName, PodUid, Seconds
from meltguard.rehearse.clock import RehearsedClock
from meltguard.sim.lenders import Stage

Happens = Callable[[Seconds], None]


@dataclass
class FakeStage(Stage):
    """Over a rehearsal's clock."""

    clock: RehearsedClock
    opened: dict[PodUid, NodeName] = field(default_factory=dict)
    closed: list[PodUid] = field(default_factory=list)
    removed: list[PodUid] = field(default_factory=list)
    busy: set[PodUid] = field(default_factory=set)
    _events: list[tuple[Seconds, int, Happens]] = field(default_factory=list)
    _count: int = 0

    @override
    def at(self, at: Seconds, happens: Happens) -> None:
        """As planned."""
        self._count += 1
        heapq.heappush(self._events, (at, self._count, happens))

    @override
    def open(self, pod: PodUid, node: NodeName, at: Seconds) -> None:
        """Noted."""
        self.opened[pod] = node

    @override
    def close(self, pod: PodUid, at: Seconds) -> None:
        """Noted."""
        self.closed.append(pod)

    @override
    def is_idle(self, pod: PodUid) -> bool:
        """As the test says."""
        return pod not in self.busy

    @override
    def remove(self, pod: PodUid) -> None:
        """Noted."""
        self.removed.append(pod)

    def pass_until(self, at: float) -> None:
        """Let everything happen that is planned until then."""
        while self._events and self._events[0][0] <= at:
            then, _, happens = heapq.heappop(self._events)
            self.clock.at = then
            happens(then)
        self.clock.at = Seconds(at)
