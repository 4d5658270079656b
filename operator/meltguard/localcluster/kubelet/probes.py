"""HTTP probes, in Kubernetes' order: startup until it succeeds, then liveness and readiness beside each other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from meltguard.localcluster.kubelet.shapes import Container, HttpGet, Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What the probes say, and to whom."""

    ready: Callable[[bool], Awaitable[None]]  # told at every change
    dead: Callable[[], Awaitable[None]]  # told once; the container is to be restarted


@dataclass(slots=True)
class Tally:
    """Counts answers in a row against a probe's thresholds."""

    probe: Probe
    successes: int = 0
    failures: int = 0

    def take(self, answered: bool) -> bool | None:  # noqa: FBT001 - the value itself, not an option
        """Good or bad once enough answers in a row say so; None while they do not."""
        self.successes, self.failures = (self.successes + 1, 0) if answered else (0, self.failures + 1)
        if self.successes >= self.probe.success_threshold:
            return True
        return False if self.failures >= self.probe.failure_threshold else None


async def watch_probes(container: Container, ip: str, verdicts: Verdicts) -> None:
    """Ask for ever; cancel it when the process has ended."""
    async with aiohttp.ClientSession(trust_env=False) as session:
        asker = _Asker(session, container, ip)
        if container.startup_probe and not await _first(asker, container.startup_probe):
            await verdicts.dead()
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(_readiness(asker, container.readiness_probe, verdicts))
            if container.liveness_probe:
                group.create_task(_liveness(asker, container.liveness_probe, verdicts))


async def _first(asker: "_Asker", probe: Probe) -> bool:
    """What the probe says first."""
    tally = Tally(probe)
    async for answered in asker.answers(probe):
        verdict = tally.take(answered)
        if verdict is not None:
            return verdict
    return False


async def _readiness(asker: "_Asker", probe: Probe | None, verdicts: Verdicts) -> None:
    if probe is None:
        await verdicts.ready(True)
        return
    tally, ready = Tally(probe), False
    async for answered in asker.answers(probe):
        verdict = tally.take(answered)
        if verdict is not None and verdict != ready:
            ready = verdict
            await verdicts.ready(ready)


async def _liveness(asker: "_Asker", probe: Probe, verdicts: Verdicts) -> None:
    tally = Tally(probe)
    async for answered in asker.answers(probe):
        if tally.take(answered) is False:
            await verdicts.dead()
            return


class _Asker:
    def __init__(self, session: aiohttp.ClientSession, container: Container, ip: str) -> None:
        self._session = session
        self._ports = {port.name: port.container_port for port in container.ports}
        self._ip = ip

    async def answers(self, probe: Probe) -> AsyncIterator[bool]:
        """One answer a period, without end."""
        await asyncio.sleep(probe.initial_delay_seconds)
        while True:
            yield await self._ask(probe)
            await asyncio.sleep(probe.period_seconds)

    async def _ask(self, probe: Probe) -> bool:
        if probe.http_get is None:
            return True
        limit = aiohttp.ClientTimeout(total=probe.timeout_seconds)
        url = self._url(probe.http_get)
        try:
            async with self._session.get(url, timeout=limit, ssl=False, allow_redirects=False) as answer:
                return answer.status < 400  # noqa: PLR2004 - HTTP
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _url(self, asked: HttpGet) -> str:
        port = self._ports.get(asked.port, asked.port) if isinstance(asked.port, str) else asked.port
        path = asked.path if asked.path.startswith("/") else f"/{asked.path}"
        return f"{asked.scheme.lower()}://{asked.host or self._ip}:{port}{path}"
