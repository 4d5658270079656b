"""Follows the agents of one service: who they are, what they last counted, which do not answer."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from meltguard.core.load import AgentCounters, PodLoad, load_between
from meltguard.core.past import Past, past_after, with_past
from meltguard.core.units import NodeName, PodUid, Seconds
from meltguard.errors import InvalidInput, Unavailable
from meltguard.ports import Clock, LimitSink, Target

TICK = Seconds(2.0)
FRESH = Seconds(12.0)
"""A pod whose last answer is older does not answer: a calm one is asked to speak every 10 s."""

WINDOW = Seconds(6.0)
"""Rates are formed over at most this much time, where readings are that dense."""

LEAST_SPAN = Seconds(1.0)
AT_ONCE = -1
"""A sequence that every agent has already passed: it answers without waiting."""

RETRY = Seconds(1.0)

Served = tuple[Target, NodeName]
"""A pod's agent, and where the pod runs."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer and when it came, on the clock that never jumps."""

    counters: AgentCounters
    at: Seconds


@dataclass(slots=True)
class Followed:
    """One pod's agent."""

    target: Target
    node: NodeName
    readings: deque[Reading] = field(default_factory=lambda: deque(maxlen=16))
    past: Past | None = None
    answers: bool = False

    @property
    def last(self) -> Reading | None:
        """The latest answer."""
        return self.readings[-1] if self.readings else None

    def load(self, now: Seconds) -> PodLoad | None:
        """The rates over the last readings; None while they cannot be formed or are too old."""
        last = self.last
        if last is None or now - last.at > FRESH:
            return None
        before = self._reading_before(last)
        age = Seconds(now - last.at)
        load = load_between(self.node, before.counters, last.counters, age) if before else None
        if load is None or self.past is None:
            return None
        return replace(with_past(load, self.past), name=self.target.name)

    def take(self, counters: AgentCounters, at: Seconds) -> None:
        """One answer more."""
        self.readings.append(Reading(counters=counters, at=at))
        self.past = past_after(self.past, counters)

    def _reading_before(self, last: Reading) -> Reading | None:
        older = [
            r for r in self.readings if last.at - r.at >= LEAST_SPAN and r.counters.instance == last.counters.instance
        ]
        inside = [reading for reading in older if last.at - reading.at <= WINDOW]
        return inside[0] if inside else (older[-1] if older else None)


class AgentBook:
    """The agents of one service. One task a pod reads its counters; the tick takes what is there."""

    def __init__(self, sink: LimitSink, clock: Clock, wake: Callable[[], None]) -> None:
        self._sink = sink
        self._clock = clock
        self._wake = wake
        self._followed: dict[PodUid, Followed] = {}
        self._ready: frozenset[PodUid] = frozenset()
        self._tasks: dict[PodUid, asyncio.Task[None]] = {}
        self.calm = True  # a calm service's pods are asked to hold their answers

    def follow(self, pods: Sequence[Served], unready: Sequence[Served] = ()) -> None:
        """Follow exactly these pods from now on: ready ones, and others that are listened to and told nothing."""
        self._ready = frozenset(target.pod for target, _ in pods)
        wanted = {target.pod: (target, node) for target, node in (*pods, *unready)}
        for gone in self._followed.keys() - wanted.keys():
            del self._followed[gone]
            self._tasks.pop(gone).cancel()
        for pod, (target, node) in wanted.items():
            if pod not in self._followed:
                self._followed[pod] = Followed(target=target, node=node)
                self._tasks[pod] = asyncio.create_task(self._read_on(self._followed[pod]), name=f"read {target.name}")

    async def close(self) -> None:
        """Follow nobody any more."""
        tasks = list(self._tasks.values())
        self.follow(())
        await asyncio.gather(*tasks, return_exceptions=True)

    def loads(self) -> tuple[PodLoad, ...]:
        """Rates of the ready pods that answer."""
        return self._loads(self._ready)

    def unready_loads(self) -> tuple[PodLoad, ...]:
        """Rates of the others that answer."""
        return self._loads(self._followed.keys() - self._ready)

    def _loads(self, pods: AbstractSet[PodUid]) -> tuple[PodLoad, ...]:
        now = self._clock.elapsed()
        loads = (followed.load(now) for pod, followed in self._followed.items() if pod in pods)
        return tuple(load for load in loads if load is not None)

    def targets(self) -> tuple[Target, ...]:
        """The ready pods' agents: those that limits are pushed to."""
        return tuple(followed.target for pod, followed in self._followed.items() if pod in self._ready)

    def counters(self, pod: PodUid) -> AgentCounters | None:
        """A pod's latest answer."""
        followed = self._followed.get(pod)
        return followed.last.counters if followed and followed.last else None

    def record(self, pod: PodUid, counters: AgentCounters) -> None:
        """Take an answer, also one that came with a push."""
        followed = self._followed.get(pod)
        if followed is not None:
            followed.take(counters, self._clock.elapsed())
            followed.answers = True

    async def _read_on(self, followed: Followed) -> None:
        while True:
            started = self._clock.elapsed()
            after = followed.last.counters.sequence if self.calm and followed.last else AT_ONCE
            await self._read_once(followed, after)
            pause = (Seconds(0.0) if after != AT_ONCE else TICK) if followed.answers else RETRY
            left = pause - (self._clock.elapsed() - started)
            if left > 0:
                await asyncio.sleep(left)  # the cadence of reading, not a wait for something

    async def _read_once(self, followed: Followed, after: int) -> None:
        try:
            counters = await self._sink.read(followed.target, after)
        except (Unavailable, InvalidInput):
            followed.answers = False
            return
        before = followed.last
        self.record(followed.target.pod, counters)
        if before is None or counters.sequence > before.counters.sequence:
            self._wake()
