"""Relays one WebSocket to an image server, message by message, both ways."""

import asyncio
from collections.abc import Mapping
from typing import Final

import aiohttp
from yarl import URL

from meltguard.agent.asgi import Receive, Scope, Send
from meltguard.agent.leaving import ended
from meltguard.core.units import Seconds

MOST_BYTES: Final = 16_777_216  # of one message
OPEN_WITHIN: Final = Seconds(10.0)
CLOSE_WITHIN: Final = Seconds(2.0)
GOING_AWAY, BAD_GATEWAY = 1001, 1014
SENT: Final = frozenset({*range(1000, 1016), *range(3000, 5000)} - {1004, 1005, 1006, 1015})


async def relayed(
    session: aiohttp.ClientSession, target: URL, headers: Mapping[str, str], scope: Scope, ends: tuple[Receive, Send]
) -> None:
    """Open the server's side, accept the client, and pass messages on until either side closes."""
    receive, send = ends
    await receive()  # the handshake
    protocols = tuple(scope.get("subprotocols", ()))
    try:
        async with asyncio.timeout(OPEN_WITHIN):
            server = await session.ws_connect(
                target, headers=headers, protocols=protocols, max_msg_size=MOST_BYTES, autoping=True
            )
    except (aiohttp.ClientError, TimeoutError):
        await send({"type": "websocket.close", "code": BAD_GATEWAY, "reason": "the image server did not answer"})
        return
    try:
        await send({"type": "websocket.accept", "subprotocol": server.protocol})
        async with ended(asyncio.create_task(_up(receive, server))) as up:
            async with ended(asyncio.create_task(_down(server, send))) as down:
                done, _ = await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
        if down in done:
            await send({"type": "websocket.close", "code": sent_code(server.close_code)})
    finally:
        await asyncio.wait({asyncio.ensure_future(server.close())}, timeout=CLOSE_WITHIN)


def sent_code(code: int | None) -> int:
    """The code that a client is closed with; some only say on one side what became of a connection (RFC 6455, 7.4.1).

    >>> sent_code(4001), sent_code(1006), sent_code(None)
    (4001, 1001, 1001)
    """
    return code if code is not None and code in SENT else GOING_AWAY


async def _up(receive: Receive, server: aiohttp.ClientWebSocketResponse) -> None:
    while (message := await receive())["type"] == "websocket.receive":
        if (text := message.get("text")) is not None:
            await server.send_str(text)
        else:
            await server.send_bytes(message.get("bytes") or b"")


async def _down(server: aiohttp.ClientWebSocketResponse, send: Send) -> None:
    async for message in server:
        if message.type is aiohttp.WSMsgType.TEXT:
            await send({"type": "websocket.send", "text": message.data})
        elif message.type is aiohttp.WSMsgType.BINARY:
            await send({"type": "websocket.send", "bytes": message.data})
