"""HTTP connections that nobody may hold open by being slow."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import h11
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

from meltguard.agent.clients import Clients, Trouble
from meltguard.agent.crowd import Crowd
from meltguard.core.units import Seconds

UNFINISHED: Final = frozenset({h11.IDLE, h11.SEND_BODY})  # the client has still something to send


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBounds:
    """What a server bears."""

    most: int  # connections at once
    most_of_address: int
    head_within: Seconds  # for a request's head to come
    read_within: Seconds  # for a client to read what was sent


class Deadline:
    """One timer that is armed or not."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def arm(self, within: Seconds, then: Callable[[], object]) -> None:
        """Have something done, unless disarmed before; armed already, nothing changes."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(within, then)

    def disarm(self) -> None:
        """Have nothing done."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class GuardedProtocol(H11Protocol):
    """Closes a connection whose request head or reading takes too long, and beyond a number the longest unfinished."""

    bounds: ConnectionBounds
    crowd: Crowd["GuardedProtocol"]
    clients: Clients

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head, self._read = Deadline(), Deadline()

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the base does
        super().connection_made(transport)
        crowded_out = self.crowd.join(self, self.client[0] if self.client else "", len(self.connections))
        if crowded_out is not None:
            self.clients.troubles[Trouble.CONNECTIONS] += 1
            crowded_out.transport.abort()
        self._head.arm(self.bounds.head_within, self._late_head)

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waiting_for_head = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0] != b""
        if waiting_for_head:
            self._head.arm(self.bounds.head_within, self._late_head)
        else:
            self._head.disarm()
        self._tell_crowd()

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._tell_crowd()

    @override
    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._forget()
        super().handle_websocket_upgrade(event)

    @override
    def send_400_response(self, msg: str) -> None:
        self.clients.troubles[Trouble.UNCLEAR] += 1
        super().send_400_response(msg)

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._read.arm(self.bounds.read_within, self._late_reader)
        kept = self.transport.get_write_buffer_size()
        self.clients.held.unfinished(self, kept, Trouble.ANSWERS, self.transport.abort)

    @override
    def resume_writing(self) -> None:
        self._read.disarm()
        self.clients.held.let_go(self)
        super().resume_writing()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _tell_crowd(self) -> None:
        if self.conn.their_state in UNFINISHED:
            self.crowd.is_unfinished(self)
        else:
            self.crowd.is_asking(self)

    def _forget(self) -> None:
        self._head.disarm()
        self._read.disarm()
        self.crowd.leave(self)
        self.clients.held.let_go(self)

    def _late_head(self) -> None:
        self.clients.troubles[Trouble.LATE_HEAD] += 1
        self.transport.close()

    def _late_reader(self) -> None:
        self.clients.troubles[Trouble.LATE_READER] += 1
        self.transport.abort()


def guarded_protocol(bounds: ConnectionBounds, clients: Clients) -> type[GuardedProtocol]:
    """The protocol for a server with these bounds."""
    crowd: Crowd[GuardedProtocol] = Crowd(bounds.most, bounds.most_of_address)
    return type("BoundedProtocol", (GuardedProtocol,), {"bounds": bounds, "crowd": crowd, "clients": clients})
