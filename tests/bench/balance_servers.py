"""Serving pods of unequal GPUs, each behind its real agent, and the operator's word on their heat."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Final

from meltguard.agent.asgi import Answer, Receive, Scope, Send, headers_of
from meltguard.agent.server import ServingAgent, serving
from meltguard.api.limit_document import TierLimit
from meltguard.clock import SystemClock
from meltguard.core.heat import derated
from meltguard.core.policy import Signal, SignalKind, SignalUse
from meltguard.core.pressure import scaled
from meltguard.core.units import Celsius, PodUid, Seconds, Share
from meltguard.demo.gpu import Gpu
from meltguard.sim.heat import SLOWDOWN, Thermal
from support.agents import a_lease, agent_settings, signed

SPEED: Final = 50.0
"""Everything that takes time is divided by this: an image of 15 s takes 300 ms."""

HOT_AT: Final = Celsius(95.0)
"""Where the hot card settles at full work: its fan has failed. It clocks down at 87 degrees."""

COOL_AT: Final = Celsius(78.0)
IDLE_AT: Final = Celsius(34.0)
WARMS_IN: Final = Seconds(60.0 / SPEED)
TELLS_EVERY: Final = Seconds(30.0 / SPEED)
"""The operator learns temperatures from Prometheus, which scrapes every 30 s."""

LONGEST_WAIT: Final = Seconds(600.0 / SPEED)
WORK_HEADER: Final = "x-work"  # seconds that a request takes on a good card
HEAT_SIGNAL: Final = Signal(
    name="temperature",
    kind=SignalKind.GPU_TEMPERATURE,
    use=SignalUse.DRIVE,
    calm=70.0,
    target=80.0,
    critical=88.0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What kind of GPU a pod has."""

    name: str
    pace: float = 1.0  # how much longer work takes
    settles: Celsius = COOL_AT  # at full work


CARDS: Final = (
    Card(name="good-1"),
    Card(name="good-2"),
    Card(name="slow", pace=1.7),
    Card(name="hot", settles=HOT_AT),
)


class Painter:
    """An image server with one GPU. Counts what the bench judges."""

    def __init__(self, card: Card) -> None:
        self.card = card
        thermal = Thermal(idle=IDLE_AT, loaded=card.settles, time_constant=WARMS_IN)
        self.gpu = Gpu(0, thermal, Random(card.name), card.pace)  # noqa: S311 - a simulation
        self._clock = SystemClock()
        self._free = asyncio.Lock()
        self.made = 0
        self.temperatures: list[float] = []

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Make the request's images; tells how long that took."""
        work = float(headers_of(scope)[WORK_HEADER])
        async with self._free:
            self.gpu.start(self._clock.elapsed())
            took = work * self.gpu.slowness(self._clock.elapsed())
            await asyncio.sleep(took)
            self.gpu.stop(self._clock.elapsed())
        self.made += 1
        await Answer(status=200, body=b"{}", headers={WORK_HEADER: str(took)}).send(send)

    def look(self) -> Celsius:
        """The sensor, noted."""
        seen = self.gpu.read(self._clock.elapsed()).temperature
        self.temperatures.append(seen)
        return seen

    @property
    def throttled(self) -> Share:
        """Share of the looks at which the card was at its slow clock."""
        return Share(sum(seen >= SLOWDOWN for seen in self.temperatures) / max(1, len(self.temperatures)))


@dataclass(frozen=True, slots=True)
class Pod:
    """One serving pod."""

    painter: Painter
    running: ServingAgent


@asynccontextmanager
async def pods() -> AsyncIterator[Sequence[Pod]]:
    """One pod with each kind of card, told about its heat until the block ends."""
    async with AsyncExitStack() as stack:
        started = []
        for card in CARDS:
            painter = Painter(card)
            settings = agent_settings(pod_uid=PodUid(card.name))
            started.append(Pod(painter, await stack.enter_async_context(serving(settings, painter))))
        telling = asyncio.create_task(_tell(started))
        try:
            yield started
        finally:
            telling.cancel()
            await asyncio.wait((telling,))


async def _tell(told: Sequence[Pod]) -> None:
    """What the operator does: a pod's document says what heat leaves of its GPUs."""
    tier = TierLimit(name="free", queue=1_000, max_wait=LONGEST_WAIT)
    revision = 0
    while True:
        revision += 1
        for pod in told:
            heat = derated(scaled(pod.painter.look(), HEAT_SIGNAL))
            document = a_lease(tier, pod_uid=PodUid(pod.painter.card.name), revision=revision, heat=heat)
            pod.running.agent.obey(signed(document))
        await asyncio.sleep(TELLS_EVERY)
