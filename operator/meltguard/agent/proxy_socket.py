"""Relays one WebSocket to an image server, message by message, both ways."""

import asyncio
from collections.abc import Mapping
from typing import Final

import aiohttp
from yarl import URL

from meltguard.agent.asgi import Receive, Scope, Send
from meltguard.core.units import Seconds

MOST_BYTES: Final = 16_777_216  # of one message
OPEN_WITHIN: Final = Seconds(10.0)
CLOSE_WITHIN: Final = Seconds(2.0)
GOING_AWAY, BAD_GATEWAY = 1001, 1014


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
        up, down = asyncio.create_task(_up(receive, server)), asyncio.create_task(_down(server, send))
        done, rest = await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        await asyncio.wait(rest)
        for task in done:
            await task
        if down in done:
            await send({"type": "websocket.close", "code": server.close_code or GOING_AWAY})
    finally:
        await asyncio.wait({asyncio.ensure_future(server.close())}, timeout=CLOSE_WITHIN)


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
