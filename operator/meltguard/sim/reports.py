"""What an operator has read from the agents, and the rates that follow: as the controller's book keeps them."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meltguard.core.load import AgentCounters, PodLoad, load_between
from meltguard.core.past import Past, past_after, with_past
from meltguard.core.units import NodeName, PodUid, Seconds

WINDOW: Final = Seconds(6.0)
"""Rates are formed over at most this much time, as in `meltguard.controller.agents`."""

LEAST_SPAN: Final = Seconds(1.0)
KEPT: Final = 16


@dataclass(slots=True)
class Reports:
    """The last readings of every pod that is there."""

    lag: Seconds = Seconds(0.0)  # readings younger than this are not seen yet
    _readings: dict[PodUid, deque[tuple[Seconds, Past]]] = field(default_factory=dict)

    def record(self, counters: AgentCounters, at: Seconds) -> None:
        """One answer of one agent."""
        kept = self._readings.setdefault(counters.pod, deque(maxlen=KEPT + int(self.lag)))
        kept.append((at, past_after(kept[-1][1] if kept else None, counters)))

    def loads(self, pods: Mapping[PodUid, NodeName], at: Seconds) -> tuple[PodLoad, ...]:
        """Rates of these pods, where two readings allow it. What others said is forgotten."""
        for gone in self._readings.keys() - pods.keys():
            del self._readings[gone]
        loads = (self._load(pod, node, at) for pod, node in pods.items())
        return tuple(load for load in loads if load is not None)

    def _load(self, pod: PodUid, node: NodeName, at: Seconds) -> PodLoad | None:
        known = [one for one in self._readings.get(pod, ()) if one[0] <= at - self.lag]
        if not known:
            return None
        last_at, past = known[-1]
        older = [one for one in known if last_at - one[0] >= LEAST_SPAN]
        inside = [one for one in older if last_at - one[0] <= WINDOW]
        before = inside[0] if inside else (older[-1] if older else None)
        load = load_between(node, before[1].last, past.last, Seconds(at - last_at)) if before else None
        return None if load is None else with_past(load, past)
