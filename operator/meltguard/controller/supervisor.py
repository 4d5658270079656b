"""Keeps loops alive and knows when one is not: a loop that fails is counted, logged and run again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from meltguard.controller.telemetry import Telemetry
from meltguard.core.units import Seconds
from meltguard.errors import Fenced, Unavailable
from meltguard.ports import Clock

log = logging.getLogger(__name__)

MISSED_BEATS = 3
"""A loop that has been silent for this many of its intervals is dead: liveness says so."""

LEAST_PATIENCE = Seconds(30.0)
"""One slow answer from outside kills nobody."""


@dataclass(slots=True)
class Beat:
    """When a loop last finished a pass."""

    every: Seconds
    at: Seconds


@dataclass(slots=True)
class Supervisor:
    """Runs passes at their cadence, or when woken."""

    clock: Clock
    telemetry: Telemetry
    beats: dict[str, Beat] = field(default_factory=dict)

    async def run(
        self, name: str, once: Callable[[], Awaitable[object]], every: Seconds, wake: asyncio.Event | None = None
    ) -> None:
        """Call `once` again and again until cancelled. A fence ends it: another leader is at work.

        Raises:
            Fenced: a write was refused, or must not be made any more.
        """
        bell = wake or asyncio.Event()
        self.beats[name] = Beat(every=every, at=self.clock.elapsed())
        try:
            while True:
                bell.clear()
                await self._guarded(name, once)
                self.beats[name].at = self.clock.elapsed()
                await _next(bell, every)
        finally:
            self.beats.pop(name, None)

    def ages(self) -> dict[str, Seconds]:
        """Since each loop last finished a pass; of several services the slowest."""
        now = self.clock.elapsed()
        found: dict[str, Seconds] = {}
        for name, beat in self.beats.items():
            kind = kind_of(name)
            found[kind] = Seconds(max(found.get(kind, 0.0), now - beat.at))
        return found

    async def _guarded(self, name: str, once: Callable[[], Awaitable[object]]) -> None:
        began = self.clock.elapsed()
        try:
            await once()
        except Fenced:
            raise
        except Unavailable as exc:
            self.telemetry.failures.labels(loop=kind_of(name)).inc()
            log.warning("pass not finished", extra={"loop": name, "why": str(exc)})
        except Exception:
            # A bug in one pass must not end the loop that brings nodes home; it is counted, and shown with its trace.
            self.telemetry.failures.labels(loop=kind_of(name)).inc()
            log.exception("pass failed", extra={"loop": name})
        finally:
            self.telemetry.loop_seconds.labels(loop=kind_of(name)).observe(self.clock.elapsed() - began)

    def dead(self) -> tuple[str, ...]:
        """Loops that have not finished a pass for too long."""
        now = self.clock.elapsed()
        return tuple(name for name, beat in self.beats.items() if now - beat.at > _patience(beat.every))


def kind_of(name: str) -> str:
    """A loop's kind: services have one each, which no label may tell apart.

    >>> kind_of("service serving/image-gen")
    'service'
    """
    return name.split(" ", maxsplit=1)[0]


def _patience(every: Seconds) -> float:
    return max(LEAST_PATIENCE, MISSED_BEATS * every)


async def _next(bell: asyncio.Event, every: Seconds) -> None:
    """Until the bell rings or the interval is over."""
    try:
        async with asyncio.timeout(every):
            await bell.wait()
    except TimeoutError:
        return
