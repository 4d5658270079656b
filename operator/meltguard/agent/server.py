"""The agent's sockets: one server for data, one for control, in the event loop of whoever asks."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import uvicorn
from typing_extensions import override

from meltguard.agent.access_log import AccessLog
from meltguard.agent.agent import Agent
from meltguard.agent.asgi import App
from meltguard.agent.connections import ConnectionBounds, GuardedProtocol, guarded_protocol
from meltguard.agent.control import ControlApp
from meltguard.agent.decisions import Decisions
from meltguard.agent.door import Door, must_be_closed
from meltguard.agent.framing import PlainFraming
from meltguard.agent.identity import IdentityMiddleware
from meltguard.agent.middleware import AdmissionMiddleware
from meltguard.agent.place_app import PlacesMiddleware
from meltguard.agent.proxy_socket import MOST_BYTES
from meltguard.agent.quota_valkey import ValkeyQuotaStore
from meltguard.agent.settings import Address, AgentSettings
from meltguard.clock import SystemClock
from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput, Unavailable
from meltguard.ports import Clock

log = logging.getLogger(__name__)

CONTROL_CONNECTIONS: Final = 256
CONTROL_CONNECTIONS_OF_ADDRESS: Final = 64
DATA_CONNECTIONS: Final = 4_096
BACKLOG: Final = 2_048  # connections that the kernel holds until they are accepted
ACCEPTED_AT_ONCE: Final = 16
"""Connections accepted in one turn of the event loop: whoever opens a thousand at once keeps nobody else waiting."""

SETTLE_WITHIN: Final = Seconds(2.0)
START_WITHIN: Final = Seconds(10.0)


class EmbeddedServer(uvicorn.Server):
    """A server that leaves the process's signals to the process: several may run in one."""

    @contextmanager
    @override
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True, slots=True)
class ServingAgent:
    """A running agent and where it listens."""

    agent: Agent
    data: Address
    control: Address


@asynccontextmanager
async def serving(settings: AgentSettings, app: App | None, clock: Clock | None = None) -> AsyncIterator[ServingAgent]:
    """Run an agent before an image server's app until the block ends; without an app it decides for a proxy.

    On leaving, waiting requests are refused with Retry-After, and images in progress may finish within
    `settings.pace.stop_within`.

    Raises:
        InvalidInput: an address cannot be listened on.
    """
    clock = clock or SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        data_socket = stack.enter_context(contextlib.closing(_listen(settings.listen)))
        control_socket = stack.enter_context(contextlib.closing(_listen(settings.control)))
        store = None
        if settings.quota.store is not None:
            store = ValkeyQuotaStore(settings.quota.store, settings.quota.budget)
            stack.push_async_callback(store.close)
        agent = Agent(settings, clock, store)
        work = await stack.enter_async_context(_running(agent))
        asked = _deciding(agent, stack, clock) if app is None else guarding(agent, app, stack, clock)
        protocol = _protocol(agent, DATA_CONNECTIONS, DATA_CONNECTIONS)  # all come from one address, through a gateway
        data = _server(asked, settings.pace.stop_within, protocol, "websockets-sansio")
        control = _control_server(agent)
        await stack.enter_async_context(_listening(agent, {data_socket: data, control_socket: control}))
        work.add_done_callback(_tell_of_failure)
        yield ServingAgent(agent, _address(data_socket), _address(control_socket))


@asynccontextmanager
async def control_of(agent: Agent) -> AsyncIterator[Address]:
    """Run an agent's background work and its control interface until the block ends: all but the users' requests.

    Raises:
        InvalidInput: the control address cannot be listened on.
    """
    with contextlib.closing(_listen(agent.settings.control)) as control_socket:
        async with _running(agent) as work, _listening(agent, {control_socket: _control_server(agent)}):
            work.add_done_callback(_tell_of_failure)
            yield _address(control_socket)


def guarding(agent: Agent, app: App, stack: contextlib.AsyncExitStack, clock: Clock) -> App:
    """All that a request passes on its way to an image server's app; `stack` ends what it leaves behind."""
    settings = agent.settings
    guarded = AdmissionMiddleware(app, agent.admission, settings.callers, settings.pace)
    places = PlacesMiddleware(guarded, agent)
    stack.push_async_callback(places.close)
    return _written(agent, IdentityMiddleware(places, agent.identify, settings.callers), clock)


def _deciding(agent: Agent, stack: contextlib.AsyncExitStack, clock: Clock) -> App:
    """All that a proxy's question passes."""
    settings = agent.settings
    must_be_closed(settings.listen.host, settings.decisions)
    decisions = Decisions(agent.admission, settings)
    stack.push_async_callback(decisions.close)
    if agent.server_watch is not None:
        agent.server_watch.miss = decisions.grants.looked
    known = IdentityMiddleware(decisions, agent.identify, settings.callers)
    return Door(_written(agent, known, clock), decisions, settings.decisions)


def _written(agent: Agent, known: App, clock: Clock) -> App:
    """Before it, the access log if there is one."""
    return known if agent.access_log is None else AccessLog(known, agent.access_log, clock)


@asynccontextmanager
async def _running(agent: Agent) -> AsyncIterator["asyncio.Task[None]"]:
    """The agent's background work."""
    work = asyncio.create_task(agent.run(), name=f"agent {agent.settings.pod_uid}")
    try:
        yield work
    finally:
        await agent.quota.finish(SETTLE_WITHIN)
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        agent.quota.close()


@asynccontextmanager
async def _listening(agent: Agent, servers: Mapping[socket.socket, EmbeddedServer]) -> AsyncIterator[None]:
    """Servers that listen before the block begins, and stop gently and together after it."""
    tasks = [asyncio.create_task(server.serve(sockets=[sock])) for sock, server in servers.items()]
    try:
        async with asyncio.timeout(START_WITHIN):
            while not all(server.started for server in servers.values()):
                await _raise_what_failed(tasks)
                await asyncio.sleep(0.005)
        for sock in servers:
            sock.listen(BACKLOG)  # asyncio took ACCEPTED_AT_ONCE for both
        yield
    finally:
        agent.stop()
        for server in servers.values():
            server.should_exit = True
        await asyncio.gather(*tasks)


async def _raise_what_failed(tasks: "list[asyncio.Task[None]]") -> None:
    for task in tasks:
        if task.done():
            await task
            raise Unavailable("a server ended before it listened; see its log")


def _protocol(agent: Agent, most: int, most_of_address: int) -> type[GuardedProtocol]:
    callers = agent.settings.callers
    bounds = ConnectionBounds(
        most=most,
        most_of_address=most_of_address,
        head_within=callers.head_within,
        read_within=callers.read_within,
    )
    return guarded_protocol(bounds, agent.admission.clients)


def _control_server(agent: Agent) -> EmbeddedServer:
    protocol = _protocol(agent, CONTROL_CONNECTIONS, CONTROL_CONNECTIONS_OF_ADDRESS)
    return _server(PlainFraming(ControlApp(agent)), Seconds(1.0), protocol, "none")


def _server(
    app: App, stop_within: Seconds, protocol: type[GuardedProtocol], sockets: Literal["none", "websockets-sansio"]
) -> EmbeddedServer:
    config = uvicorn.Config(
        app=app,
        http=protocol,
        ws=sockets,
        ws_max_size=MOST_BYTES,
        lifespan="off",
        proxy_headers=False,  # a client could name its own address, and be a new user each time
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=ACCEPTED_AT_ONCE,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(stop_within)),
    )
    return EmbeddedServer(config)


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # Named TCP: asyncio turns Nagle's delay off (40 ms an answer) only where a socket says so.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.host, address.port))
        sock.listen(BACKLOG)  # here: of two that could bind, only one can listen, and the other is to say so
        sock.setblocking(False)
    except OSError as exc:
        sock.close()
        raise InvalidInput(f"cannot listen on {address.host}:{address.port}: {exc}; choose a free address") from exc
    return sock


def _address(sock: socket.socket) -> Address:
    host, port = sock.getsockname()[:2]
    return Address(host, port)


def _tell_of_failure(work: "asyncio.Task[None]") -> None:
    if not work.cancelled() and (exc := work.exception()) is not None:
        log.error("the agent's background work ended", exc_info=exc)
