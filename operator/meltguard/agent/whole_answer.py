"""A server's answer read whole, if it is not too large."""

from typing import Final

import aiohttp

from meltguard.errors import Unavailable

PIECE: Final = 65_536


async def whole(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """All of a body; the client library's `read(n)` gives only what has come by now.

    Raises:
        Unavailable: it is larger than `most` bytes.
    """
    pieces = bytearray()
    async for piece in answer.content.iter_chunked(PIECE):
        pieces += piece
        if len(pieces) > most:
            raise Unavailable(f"{answer.url} answered with more than {most} bytes; is the URL right?")
    return bytes(pieces)
