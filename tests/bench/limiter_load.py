"""A load of so many requests a second over kept connections, and what it cost the server in CPU time."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from typing_extensions import override

from bench.limiter_inprocess import Cost, Spread, callers
from bench.limiter_subjects import Subject
from meltguard.core.units import Seconds, Share
from meltguard.sim.ledger import quantile

CONNECTIONS: Final = 16
ANSWER_WITHIN: Final = Seconds(10.0)
READY_WITHIN: Final = Seconds(60.0)
BUSIEST: Final = 0.9
"""A load generator that used more of its core than this measured itself."""


class Unproven(RuntimeError):
    """The load generator had no time left: what it measured is its own pace."""


@dataclass(slots=True)
class Measured:
    """One subject, over the rounds."""

    cpu: list[float] = field(default_factory=list)  # microseconds a request, by round
    times: list[list[float]] = field(default_factory=list)  # seconds, of every request, by round

    @property
    def cost(self) -> Cost:
        """Over the rounds."""
        return Cost(self.cpu)

    def quantile(self, share: float) -> float:
        """Milliseconds, over all rounds."""
        return quantile([one for times in self.times for one in times], Share(share)) * 1e3

    def quantiles(self, share: float) -> Spread:
        """Milliseconds, of each round."""
        return Spread([quantile(times, Share(share)) * 1e3 for times in self.times])


class Connection(asyncio.Protocol):
    """One kept connection: a request at a time."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[bytes] | None = None
        self._read = b""
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    @override
    def data_received(self, data: bytes) -> None:
        """An answer is whole with its two bytes of body."""
        self._read += data
        if self._answer is not None and self._read.endswith(b"\r\n\r\n{}") and not self._answer.done():
            self._answer.set_result(self._read)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """The server closed it."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError(f"the server closed the connection: {exc}"))

    def close(self) -> None:
        """No more requests."""
        if self._transport is not None:
            self._transport.close()

    async def ask(self, request: bytes) -> None:
        """One request and its answer, which must be 200."""
        assert self._transport is not None
        self._answer, self._read = asyncio.get_running_loop().create_future(), b""
        self._transport.write(request)
        head = await asyncio.wait_for(self._answer, ANSWER_WITHIN)
        if not head.startswith(b"HTTP/1.1 200"):
            raise ValueError(f"answered {head[:200]!r}; the bench measures admissions")


async def measured(subjects: Mapping[str, Subject], rounds: int, requests: int, rate: float) -> dict[str, Measured]:
    """Every subject in turn, round by round.

    Raises:
        Unproven: the load generator was too busy.
    """
    found = {name: Measured() for name in subjects}
    for subject in subjects.values():  # a first round warms caches and is not counted
        await _load(await _connected(subject.port), requests // 4, rate)
    for _ in range(rounds):
        for name, subject in subjects.items():
            lines = await _connected(subject.port)  # anew: servers close connections that were idle for seconds
            began, own = _cpu(subject.pids), time.process_time()
            start = time.monotonic()
            found[name].times.append(await _load(lines, requests, rate))
            span = time.monotonic() - start
            found[name].cpu.append((_cpu(subject.pids) - began) / requests * 1e6)
            if found[name].cpu[-1] <= 0:
                raise Unproven(f"{name} was answered without computing: another server has its port; run it again")
            if time.process_time() - own > BUSIEST * span:
                raise Unproven(f"the load generator used over {BUSIEST:.0%} of its core on {name}; lower --rate")
    return found


async def _connected(port: int) -> Sequence[Connection]:
    loop = asyncio.get_running_loop()
    end = time.monotonic() + READY_WITHIN
    while True:
        try:
            pairs = [await loop.create_connection(Connection, "127.0.0.1", port) for _ in range(CONNECTIONS)]
            await pairs[0][1].ask(_request("free", "first"))
        except (OSError, ValueError, TimeoutError):
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.1)
        else:
            return [connection for _, connection in pairs]


async def _load(lines: Sequence[Connection], requests: int, rate: float) -> list[float]:
    """Each connection asks at its own even pace; the times of all answers."""
    times: list[float] = []
    asked = [_request(tier, user) for tier, user in callers()[: requests // len(lines)]]

    async def go(line: Connection, late: float) -> None:
        start = time.monotonic() + late
        for number, request in enumerate(asked):
            await asyncio.sleep(max(0.0, start + number * len(lines) / rate - time.monotonic()))
            began = time.monotonic()
            await line.ask(request)
            times.append(time.monotonic() - began)

    await asyncio.gather(*(go(line, place / rate) for place, line in enumerate(lines)))
    for line in lines:
        line.close()
    return times


def _request(tier: str, user: str) -> bytes:
    return (
        "GET /v1/images/generations HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: */*\r\n"
        f"x-meltguard-tier: {tier}\r\nx-meltguard-user: {user}\r\n\r\n"
    ).encode()


def _cpu(pids: Sequence[int]) -> float:
    """Seconds of CPU time that the processes have used, all threads."""
    spent = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            spent += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
    return spent / 1e9
