"""HTTP connections that nobody may hold open by being slow."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h11
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

from meltguard.core.units import Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBounds:
    """What a server bears."""

    most: int  # connections at once
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
    """Closes a connection whose request head or reading takes too long, and those beyond a number."""

    bounds: ConnectionBounds

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head, self._read = Deadline(), Deadline()

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the base does
        super().connection_made(transport)
        if len(self.connections) > self.bounds.most:
            transport.close()
            return
        self._head.arm(self.bounds.head_within, transport.close)

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waiting_for_head = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0] != b""
        if waiting_for_head:
            self._head.arm(self.bounds.head_within, self.transport.close)
        else:
            self._head.disarm()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._read.arm(self.bounds.read_within, self.transport.abort)

    @override
    def resume_writing(self) -> None:
        self._read.disarm()
        super().resume_writing()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._head.disarm()
        self._read.disarm()
        super().connection_lost(exc)


def guarded_protocol(bounds: ConnectionBounds) -> type[GuardedProtocol]:
    """The protocol for a server with these bounds."""
    return type("BoundedProtocol", (GuardedProtocol,), {"bounds": bounds})
