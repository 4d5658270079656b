"""HTTP connections that nobody may hold open by being slow."""

import asyncio
from typing import Any

import h11
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

from meltguard.core.units import Seconds


class GuardedProtocol(H11Protocol):
    """Closes a connection whose request head does not come in time, and those beyond a number."""

    most_connections = 4_096
    head_within = Seconds(5.0)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the base does
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            transport.close()
            return
        self._head_timer = self.loop.call_later(self.head_within, self._give_up)

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waiting_for_head = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0] != b""
        if not waiting_for_head:
            self._disarm()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_within, self._give_up)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        self._head_timer = None
        self.transport.close()

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def guarded_protocol(most_connections: int, head_within: Seconds) -> type[GuardedProtocol]:
    """The protocol for a server that bears this many connections, and heads no slower than this."""
    bounds = {"most_connections": most_connections, "head_within": head_within}
    return type("BoundedProtocol", (GuardedProtocol,), bounds)
