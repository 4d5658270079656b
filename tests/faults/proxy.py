"""A reverse proxy before the API server that numbers the operator's writes, and fails as it is told to."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp import web
from yarl import URL

from faults.rules import (
    Act,
    Answer,
    Delay,
    Drop,
    ErrorInStream,
    Hit,
    Kill,
    LoseReply,
    Meddle,
    Moment,
    OldList,
    Reset,
    Rule,
    Stall,
    Twist,
    TwistEvents,
    Write,
    label_of,
)
from faults.streams import relay

FORWARDED: Final = ("Authorization", "Content-Type", "Accept", "User-Agent")
RETURNED: Final = ("Content-Type", "Retry-After", "Warning")
REASONS: Final = {409: "Conflict", 410: "Expired", 422: "Invalid", 429: "TooManyRequests", 500: "InternalError"}
UPSTREAM: Final = aiohttp.ClientTimeout(total=None, sock_connect=10)


@dataclass(slots=True, eq=False)
class Armed:
    """A rule and how often a request matched it."""

    rule: Rule
    seen: int = 0

    def strikes(self, hit: Hit) -> bool:
        """Whether it acts on this request."""
        if not self.rule.match.holds(hit):
            return False
        self.seen += 1
        last = self.rule.first + self.rule.times - 1
        return self.seen >= self.rule.first and (self.rule.times == 0 or self.seen <= last)


@dataclass(slots=True)
class Proxy:
    """One API server; one door (address) for each operator process, so that one of them can be cut off alone."""

    upstream: str  # URL
    session: aiohttp.ClientSession
    kill: Callable[[str], Awaitable[None]]  # the operator behind this door
    writes: list[Write] = field(default_factory=list)
    strikes: int = 0  # how often a rule acted
    armed: list[Armed] = field(default_factory=list)
    remembered: dict[str, bytes] = field(default_factory=dict)
    calm: asyncio.Event = field(default_factory=asyncio.Event)  # set whenever rules are taken off
    watches: dict[int, web.Request] = field(default_factory=dict)  # open ones

    def arm(self, *rules: Rule) -> None:
        """From now on, exactly these rules; the count of writes starts anew."""
        self.disarm()
        self.armed = [Armed(rule) for rule in rules]
        self.writes.clear()
        self.strikes = 0

    def add(self, *rules: Rule) -> None:
        """These rules too."""
        self.armed.extend(Armed(rule) for rule in rules)

    async def during(self, seconds: float, *rules: Rule) -> None:
        """These rules too, for so long."""
        armed = [Armed(rule) for rule in rules]
        self.armed.extend(armed)
        await asyncio.sleep(seconds)
        self.armed = [one for one in self.armed if one not in armed]
        self.calm.set()
        self.calm = asyncio.Event()

    def disarm(self) -> None:
        """No rules; what was stalled is let go."""
        self.armed = []
        self.calm.set()
        self.calm = asyncio.Event()

    async def handle(self, request: web.Request, client: str) -> web.StreamResponse:
        """Answer one request of the operator behind door `client`."""
        hit = await self._hit(request, client)
        rules = [armed for armed in self.armed if not isinstance(armed.rule.act, TwistEvents)]
        before = [armed.rule.act for armed in rules if armed.strikes(hit)]
        self.strikes += len(before)
        for act in before:
            answer = await self._ahead(act, request, hit)
            if answer is not None:
                return answer
        try:
            answer = await (self._watch(request, hit) if hit.watch else self._forward(request, hit))
        except (aiohttp.ClientError, ConnectionError):
            return _reset(request)  # the API server is away: so are we
        for act in before:
            await self._behind(act, request, hit)
        return answer

    async def _hit(self, request: web.Request, client: str) -> Hit:
        body = await request.read()
        label = label_of(request.method, request.path, body)
        write = None
        if label:
            write = Write(number=len(self.writes) + 1, label=label, path=request.path)
            self.writes.append(write)
        watch = request.query.get("watch", "") in {"1", "true", "True"}
        return Hit(client=client, method=request.method, path=request.path, watch=watch, write=write, body=body)

    async def _ahead(self, act: Act, request: web.Request, hit: Hit) -> web.StreamResponse | None:
        """What happens before the request is forwarded; a response where it is not forwarded at all."""
        match act:
            case Delay(seconds=seconds):
                await asyncio.sleep(seconds)
            case Meddle(moment=Moment.BEFORE, act=call):
                await call(hit)
            case Kill(moment=Moment.BEFORE):
                await self.kill(hit.client)
                return _reset(request)
            case Stall():
                await self.calm.wait()
                return _reset(request)
            case ErrorInStream(code=code):
                return await _error_stream(request, code)
            case _:
                return self._at_once(act, request, hit)
        return None

    def _at_once(self, act: Act, request: web.Request, hit: Hit) -> web.StreamResponse | None:
        """The answers that nothing has to be awaited for."""
        match act:
            case Drop():
                return _closed(request)
            case Reset():
                return _reset(request)
            case Answer(code=code, retry_after=retry_after):
                return _refusal(code, retry_after, hit)
            case OldList() if hit.path in self.remembered:
                return web.Response(body=self.remembered[hit.path], content_type="application/json")
            case _:
                return None

    async def _behind(self, act: Act, request: web.Request, hit: Hit) -> None:
        """What happens after the commit, before the answer."""
        match act:
            case Kill(moment=Moment.AFTER):
                await self.kill(hit.client)
                _reset(request)
            case Meddle(moment=Moment.AFTER, act=call):
                await call(hit)
            case LoseReply():
                _reset(request)
            case _:
                pass

    async def _forward(self, request: web.Request, hit: Hit) -> web.StreamResponse:
        async with self.session.request(
            hit.method, self._url(request), data=hit.body or None, headers=_headers(request)
        ) as response:
            body = await response.read()
            if hit.listing and response.status == web.HTTPOk.status_code:
                self.remembered.setdefault(hit.path, body)
            return web.Response(body=body, status=response.status, headers=_kept(response.headers))

    async def _watch(self, request: web.Request, hit: Hit) -> web.StreamResponse:
        async with self.session.get(self._url(request), headers=_headers(request)) as response:
            answer = web.StreamResponse(status=response.status, headers=_kept(response.headers))
            await answer.prepare(request)
            self.watches[id(request)] = request
            try:
                await relay(response, answer, lambda kind: self._twist(hit, kind))
            finally:
                self.watches.pop(id(request), None)
            return answer

    async def _twist(self, hit: Hit, kind: str) -> Twist | None:
        """What is to happen to an event of this type in this watch."""
        for armed in self.armed:
            act = armed.rule.act
            if isinstance(act, TwistEvents) and act.type in {"", kind} and armed.strikes(hit):
                self.strikes += 1
                if act.twist is Twist.HOLD:
                    await self.calm.wait()
                    return None
                return act.twist
        return None

    def cut_watches(self) -> None:
        """Break every open watch."""
        for request in tuple(self.watches.values()):
            _reset(request)

    def _url(self, request: web.Request) -> URL:
        return URL(self.upstream + request.raw_path, encoded=True)

    def forget_lists(self) -> None:
        """Remember lists anew, from the next of each on."""
        self.remembered.clear()


def _headers(request: web.Request) -> dict[str, str]:
    return {name: request.headers[name] for name in FORWARDED if name in request.headers}


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in RETURNED if name in headers}


def _closed(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.close()
    return web.Response()


def _reset(request: web.Request) -> web.Response:
    """RST instead of FIN: the connection is torn, not ended."""
    transport = request.transport
    if transport is not None:
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


def _status(code: int, retry_after: int, hit: Hit | None) -> dict[str, Any]:
    where = f"{hit.method} {hit.path}" if hit else "the watch"
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": REASONS.get(code, "InternalError"),
        "message": f"the fault harness answers {code} to {where}",
        "details": {"retryAfterSeconds": retry_after} if retry_after else {},
    }


def _refusal(code: int, retry_after: int, hit: Hit) -> web.Response:
    headers = {"Retry-After": str(retry_after)} if retry_after else {}
    return web.json_response(_status(code, retry_after, hit), status=code, headers=headers)


async def _error_stream(request: web.Request, code: int) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "application/json"})
    await answer.prepare(request)
    await answer.write(msgspec.json.encode({"type": "ERROR", "object": _status(code, 0, None)}) + b"\n")
    await answer.write_eof()
    return answer


@asynccontextmanager
async def door(proxy: Proxy, address: tuple[str, int], client: str) -> AsyncIterator[str]:
    """Listen for one operator (port 0: any); the URL that it is to talk to."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await proxy.handle(request, client)  # type: ignore[arg-type] # the low-level server's is enough

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, *address).start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        proxy.disarm()
        await runner.cleanup()
