"""`python -m meltguard.demo.users SETUP`: the users, in a process of their own, sending real HTTP as planned.

Open loop: nothing that the service does delays the next request. How late requests were sent is measured, because a
load generator that lags proves nothing.
"""

import asyncio
import contextlib
import gc
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO, Final

import aiohttp
import msgspec

from meltguard.agent.refusal import ELSEWHERE
from meltguard.clock import SystemClock
from meltguard.core.units import Gpus, Seconds
from meltguard.demo.gateway import Gateway
from meltguard.demo.image_server import PATH
from meltguard.demo.plan import Planned, Surge, peak_rate, plan
from meltguard.demo.records import Endpoint, Result, Started, Turned, UsersSetup, line
from meltguard.sim.recorded import recording
from meltguard.sim.spread import seeded

GATEWAY_TRIES: Final = 4
"""Pods that the gateway tries for one request when a pod does not answer. Sent elsewhere it is only once."""

USER_TRIES: Final = 3
KEEP_ALIVE: Final = Seconds(4.0)
"""Below the servers' own 5 s, so that no request meets a connection that is just being closed."""

PRIORITY: Final = -10
"""Of this process, as `nice` counts."""

REFUSED: Final = frozenset({429, 503})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One answer."""

    status: int
    reason: str = ""
    retry_after: Seconds | None = None
    pod: str = ""
    elsewhere: bool = False  # the pod says that another one may take it


@dataclass(slots=True)
class Trail:
    """What happened to one request on its way."""

    sent_at: Seconds | None = None  # its first byte
    turned: list[Turned] = field(default_factory=list)


class Users:
    """Sends planned requests and writes down how each ended."""

    def __init__(self, setup: UsersSetup, session: aiohttp.ClientSession, gateway: Gateway, results: BinaryIO) -> None:
        self._setup = setup
        self._session = session
        self._gateway = gateway
        self._results = results
        self._loop = asyncio.get_running_loop()
        self._clock = SystemClock()

    async def run(self, requests: tuple[Planned, ...]) -> None:
        """Send all; return when the last has ended."""
        start = self._loop.time()
        async with asyncio.TaskGroup() as sending:
            for request in requests:
                wait = start + request.at - self._loop.time()
                if wait > 0:
                    await asyncio.sleep(wait)
                sending.create_task(self._one(request, Seconds(start + request.at)))

    async def _one(self, request: Planned, due: Seconds) -> None:
        trail = Trail()
        tries = 0
        seen = Seen(status=0)
        try:
            async with asyncio.timeout_at(due + self._setup.patience):
                while True:
                    tries += 1
                    seen = await self._through_gateway(request, trail)
                    wait = seen.retry_after
                    if seen.status not in REFUSED or not request.comes_again or tries >= USER_TRIES or wait is None:
                        break
                    if self._loop.time() + wait > due + self._setup.patience:
                        break
                    await asyncio.sleep(wait)
        except TimeoutError:
            seen = Seen(status=0, reason="user-left", pod=seen.pod)
        self._write(request, trail, (due, tries, seen))

    async def _through_gateway(self, request: Planned, trail: Trail) -> Seen:
        """One try of a user: on as many pods as it takes to find one that answers, and one more where it says so."""
        tried: frozenset[str] = frozenset()
        seen = Seen(status=0, reason="no-pod")
        moved = False
        for left in reversed(range(GATEWAY_TRIES)):
            with self._gateway.turn(tried) as pod:
                if pod is None:
                    return seen
                tried |= {pod.name}
                try:
                    seen = await self._ask(pod, request, trail)
                except aiohttp.ClientError as exc:
                    seen = Seen(status=0, reason=type(exc).__name__, pod=pod.name)
            moves = seen.elsewhere and not moved and left > 0
            if seen.status in REFUSED:
                trail.turned.append(Turned(at=self._clock.now(), reason=seen.reason, passed_on=moves))
            if seen.status != 0 and not moves:
                return seen
            moved = moved or moves
        return seen

    async def _ask(self, pod: Endpoint, request: Planned, trail: Trail) -> Seen:
        headers = {
            "content-type": "application/json",
            "idempotency-key": request.key,
            "x-meltguard-tier": request.tier,
            "x-meltguard-user": request.user,
        }
        if request.feature:
            headers["x-meltguard-feature"] = request.feature
        body = b'{"prompt":"a lighthouse","n":%d,"size":"1024x1024","steps":30}' % request.images
        async with self._session.post(pod.url + PATH, data=body, headers=headers, trace_request_ctx=trail) as answer:
            text = await answer.read()
            if answer.status == 200:  # noqa: PLR2004 - HTTP
                return Seen(status=200, pod=pod.name)
            after = answer.headers.get("retry-after", "")
            wait = Seconds(float(after)) if after.isdigit() else None
            return Seen(
                status=answer.status,
                reason=_reason(text),
                retry_after=wait,
                pod=pod.name,
                elsewhere=ELSEWHERE in answer.headers,
            )

    def _write(self, request: Planned, trail: Trail, ended: tuple[Seconds, int, Seen]) -> None:
        due, tries, seen = ended
        now = self._loop.time()
        result = Result(
            key=request.key,
            user=request.user,
            tier=request.tier,
            images=request.images,
            scheduled=round(request.at, 4),
            lag=round((trail.sent_at if trail.sent_at is not None else now) - due, 5),
            tries=tries,
            status=seen.status,
            reason=seen.reason,
            pod=seen.pod,
            took=round(now - due, 4),
            turned=tuple(trail.turned),
        )
        self._results.write(line(result))


class Refused(msgspec.Struct):
    """The part of a problem that we read."""

    reason: str = ""


def _reason(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=Refused).reason
    except msgspec.MsgspecError:
        return ""


async def _first_bytes_sent(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestHeadersSentParams
) -> None:
    del session, params
    trail = context.trace_request_ctx
    if trail.sent_at is None:
        trail.sent_at = Seconds(asyncio.get_running_loop().time())


def open_session() -> aiohttp.ClientSession:
    """A lean client: no limit on connections (that would close the loop), no cookies, no redirects asked for."""
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_first_bytes_sent)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE, use_dns_cache=False),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[trace],
        auto_decompress=False,
    )


async def send_all(setup: UsersSetup, results: BinaryIO) -> None:
    """Plan, write the first line, send, write a line a request."""
    drawn = recording(Path(setup.traces) if setup.traces else None)
    surge = Surge(
        seed=setup.seed,
        speed=setup.speed,
        base_gpus=Gpus(setup.base_gpus),
        peak=setup.peak,
        lead_in=Seconds(setup.lead_in),
        length=Seconds(setup.length),
        tail=Seconds(setup.tail),
    )
    requests = plan(surge, drawn)
    gateway = Gateway(Path(setup.endpoints), seeded(setup.seed, "gateway"))
    gateway.look()
    started = Started(
        at=SystemClock().now(), planned=len(requests), peak_rate=peak_rate(surge, drawn), source=drawn.source
    )
    results.write(line(started))
    gc.collect()
    gc.freeze()  # the plan is never garbage: walking over it would be the longest pause of all
    async with open_session() as session:
        following = asyncio.create_task(gateway.follow())
        try:
            await Users(setup, session, gateway, results).run(requests)
        finally:
            following.cancel()


def main() -> int:
    """Exit code 0 when every planned request has ended."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - one argument
        sys.stderr.write("usage: python -m meltguard.demo.users SETUP.json\n")
        return 2
    setup = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=UsersSetup)
    with contextlib.suppress(PermissionError):  # where we may: whoever measures lag must not be what lags
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    with Path(setup.results).open("wb", buffering=0) as results:
        asyncio.run(send_all(setup, results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
