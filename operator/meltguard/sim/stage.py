"""The simulated service as the lenders' side may touch it: pods open on nodes, close, and go."""

from collections.abc import Callable

from typing_extensions import override

from meltguard.core.units import NodeName, PodUid, Seconds
from meltguard.sim.fleet import Fleet
from meltguard.sim.lenders import Stage
from meltguard.sim.serving import Scheduler, Serving


class ServiceStage(Stage):
    """Over the fleet of pods and the requests at them."""

    def __init__(self, fleet: Fleet, serving: Serving, schedule: Scheduler) -> None:
        self._fleet, self._serving, self._schedule = fleet, serving, schedule

    @override
    def at(self, at: Seconds, happens: Callable[[Seconds], None]) -> None:
        """Have something happen then."""
        self._schedule(at, happens)

    @override
    def open(self, pod: PodUid, node: NodeName, at: Seconds) -> None:
        """A serving pod is Ready."""
        self._fleet.open(pod, node, at)

    @override
    def close(self, pod: PodUid, at: Seconds) -> None:
        """It takes no more requests."""
        self._fleet.close((self._fleet.pod(pod),), self._serving.empty, at)

    @override
    def is_idle(self, pod: PodUid) -> bool:
        """Whether nothing runs in it any more."""
        return not self._fleet.pod(pod).running

    @override
    def remove(self, pod: PodUid) -> None:
        """It is gone."""
        self._fleet.remove(self._fleet.pod(pod))
