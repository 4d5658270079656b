"""A watch's stream on its way through the proxy: event by event, twisted where it is told to."""

from collections.abc import Awaitable, Callable

import aiohttp
import msgspec
from aiohttp import web

from faults.rules import Twist

Twister = Callable[[str], Awaitable[Twist | None]]
"""Asked for each event, by its type."""


class Line(msgspec.Struct, frozen=True):
    """One event, as far as a twist looks at it."""

    type: str = ""


async def relay(response: aiohttp.ClientResponse, answer: web.StreamResponse, twist: Twister) -> None:
    """Pass a watch on until either side ends it."""
    rest, held = b"", b""
    try:
        async for chunk in response.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                out, held = _twisted(line, held, await twist(msgspec.json.decode(line, type=Line).type))
                await answer.write(out)
    except (aiohttp.ClientError, ConnectionError):
        return  # one side is gone: the other learns it by the connection's end


def _twisted(line: bytes, held: bytes, twist: Twist | None) -> tuple[bytes, bytes]:
    """What goes on now, and what is held back for after the next event."""
    whole = line + b"\n"
    match twist:
        case Twist.LOSE:
            return b"", held
        case Twist.DOUBLE:
            return whole + whole + held, b""
        case Twist.SWAP if not held:
            return b"", whole
        case _:
            return whole + held, b""
