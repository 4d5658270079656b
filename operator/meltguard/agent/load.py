"""How loaded this pod is, told to whoever divides requests over the pods.

The same numbers go out two ways: as an ORCA report on every answer (`endpoint-load-metrics`, which Envoy's client-side
weighted round robin and gRPC's read) and as JSON on the control port. A divider weighs a pod by `rate / utilization`.
Without a queue that is what its GPUs do, less what heat takes; each waiting request lowers it further, by the square
root of what is held: in proportion, and with news as old as an image takes, the queues of a fleet would swing.
"""

import json
import math
from dataclasses import dataclass
from typing import Final

from meltguard.agent.asgi import Header
from meltguard.agent.counters import GpuMeter
from meltguard.core.units import Seconds, Share, Units, UnitsPerSecond

ORCA_HEADER: Final = b"endpoint-load-metrics"
MEMORY: Final = 0.5
"""Occupancy is averaged over this many mean image times: longer, and the divider learns too late of a queue."""

SAME_FOR: Final = Seconds(0.01)
"""A report is written anew after this long: an image takes a hundred times as much."""

SCALE: Final = 1_000_000
"""The report's rate is in millionths of an image unit: Envoy cuts a weight down to a whole number, and one image in
20 s would be 0, as much as any other."""

LEAST: Final = 0.01
"""An idle pod reports this occupancy: a divider takes 0 for a pod that does not report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One pod's load at one moment."""

    utilization: float  # between the busy share and the requests held a GPU, over what heat leaves; above 1 some wait
    rate: UnitsPerSecond  # image units a second that its GPUs do at their present occupancy
    heat: Share  # what heat leaves of them, as the operator says

    @property
    def weight(self) -> float:
        """Its part of the requests, in proportion to the other pods' weights: image units a second.

        >>> Load(utilization=1.6, rate=UnitsPerSecond(0.4), heat=Share(0.5)).weight
        0.25
        """
        return self.rate / self.utilization

    def as_orca(self) -> bytes:
        """The value of the ORCA header, in its text form.

        >>> Load(utilization=1.6, rate=UnitsPerSecond(0.4), heat=Share(0.5)).as_orca()
        b'TEXT application_utilization=1.6000,rps_fractional=400000'
        """
        return b"TEXT application_utilization=%.4f,rps_fractional=%d" % (self.utilization, max(1.0, self.rate * SCALE))


class LoadMeter:
    """Averages what one pod holds. Times are arguments."""

    def __init__(self, meter: GpuMeter, at: Seconds) -> None:
        self._meter, self._at = meter, at
        self._waiting = Units(0.0)  # since `_at`
        self._waited = 0.0  # image units that waited times seconds
        self._before = (at, meter.busy(at), meter.held(at))  # when the averages were last carried on
        self._mean_held = 0.0
        self._mean_busy = 0.0  # GPUs
        self._written: list[Header] = []
        self._written_until = Seconds(-math.inf)

    def see(self, waiting: Units, at: Seconds) -> None:
        """Image units that wait from now on."""
        self._waited += self._waiting * (at - self._at)
        self._at, self._waiting = at, waiting

    def load(self, heat: Share, at: Seconds) -> Load | None:
        """The load now; None until the first image tells what the GPUs can do."""
        rate, request = self._meter.drain_rate, self._meter.mean_units
        if rate is None or request <= 0:
            return None
        self._settle(at)
        gpus, others = self._meter.gpus, self._meter.others
        busy = max(LEAST, min(1.0, self._mean_busy / gpus + others / gpus))
        held = max(busy, self._mean_held / request / gpus + others / gpus)
        return Load(utilization=math.sqrt(busy * held) / heat, rate=UnitsPerSecond(rate * busy), heat=heat)

    def headers(self, heat: Share, at: Seconds) -> list[Header]:
        """The ORCA header for an answer sent now; none until the first image is done."""
        if at < self._written_until:
            return self._written
        load = self.load(heat, at)
        if load is None:
            return []
        self._written = [(ORCA_HEADER, load.as_orca())]
        self._written_until = Seconds(at + SAME_FOR)
        return self._written

    def as_json(self, heat: Share, at: Seconds) -> bytes:
        """The load for a reader that is not Envoy; unknown values are null."""
        load = self.load(heat, at)
        members = {
            "utilization": None if load is None else round(load.utilization, 4),
            "weight": None if load is None else round(load.weight, 6),
            "unitsPerSecond": None if load is None else round(load.rate, 6),
            "capacityUnitsPerSecond": self._meter.drain_rate,
            "heat": heat,
            "gpus": self._meter.gpus,
            "inFlight": self._meter.in_flight,
            "others": self._meter.others,
            "heldUnits": round(max(0.0, self._waiting + self._meter.units_in_flight), 4),
        }
        return json.dumps(members).encode()

    def _settle(self, at: Seconds) -> None:
        """Carry the averages on to now."""
        then, busy_then, held_then = self._before
        span = at - then
        if span <= 0:
            return
        self.see(self._waiting, at)
        busy, held = self._meter.busy(at), self._meter.held(at) + self._waited
        new = -math.expm1(-span / (MEMORY * self._meter.mean_seconds))
        self._mean_busy += new * ((busy - busy_then) / span - self._mean_busy)
        self._mean_held += new * ((held - held_then) / span - self._mean_held)
        self._before = (at, busy, held)
