"""A streaming reverse proxy as an ASGI app: for image servers that cannot be changed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from meltguard.agent.asgi import Header, Receive, Scope, Send, problem
from meltguard.agent.leaving import left, unless_gone
from meltguard.agent.proxy_socket import relayed
from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput, Unavailable

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
HANDSHAKE: Final = b"sec-websocket-"  # of each connection its own
CHUNK: Final = 65_536
CONNECT_WITHIN: Final = Seconds(5.0)
SILENCE_WITHIN: Final = Seconds(600.0)  # an image may take this long without a byte


class ClientLeft(ConnectionError):
    """The client went away before the answer was whole."""


@asynccontextmanager
async def proxying(upstream: str) -> AsyncIterator["ReverseProxy"]:
    """A proxy to one server, with its connections, until the block ends.

    Raises:
        InvalidInput: `upstream` is not an http URL.
    """
    url = URL(upstream)
    if url.scheme not in {"http", "https"} or not url.host or url.query_string:
        raise InvalidInput(f"upstream {upstream!r} is not a server's URL: write http://HOST:PORT")
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN, sock_read=SILENCE_WITHIN)
    async with aiohttp.ClientSession(
        timeout=timeout,
        connector=aiohttp.TCPConnector(limit=0),  # the admission bounds what runs at once
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("user-agent", "accept", "accept-encoding", "content-type"),
    ) as session:
        yield ReverseProxy(session, url)


class ReverseProxy:
    """Relays requests to one server and its answers back, piece by piece."""

    def __init__(self, session: aiohttp.ClientSession, upstream: URL) -> None:
        self._session, self._upstream = session, upstream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Relay one request. Ends the upstream's work when the client goes away."""
        if scope["type"] == "websocket":
            headers = _forwarded([header for header in scope["headers"] if not header[0].startswith(HANDSHAKE)])
            await relayed(self._session, self._target(scope), headers, scope, (receive, send))
            return
        body = RequestBody(receive)
        await unless_gone(self._relay(scope, body, send), body.client_gone())

    async def _relay(self, scope: Scope, body: "RequestBody", send: Send) -> None:
        has_body = _has_body(scope)
        if not has_body:
            body.skip()
        try:
            async with self._session.request(
                scope["method"],
                self._target(scope),
                headers=_forwarded(scope["headers"]),
                data=body.pieces() if has_body else None,
                allow_redirects=False,
            ) as answer:
                await streamed(answer, returned(answer), send, str(self._upstream))
        except ClientLeft:
            return
        except (aiohttp.ClientError, TimeoutError) as exc:
            status = 504 if isinstance(exc, TimeoutError) else 502
            await problem(status, "the image server did not answer; try again").send(send)

    def _target(self, scope: Scope) -> URL:
        raw = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        if not raw.startswith("/"):
            raise InvalidInput(f"{raw!r} is no path and could name another server: send one that begins with /")
        query = scope["query_string"].decode("latin-1")
        prefix = self._upstream.raw_path.rstrip("/")
        return URL(f"{self._upstream.origin()}{prefix}{raw}{'?' + query if query else ''}", encoded=True)


class RequestBody:
    """The client's body, and the news that it left."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read = asyncio.Event()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes.

        Raises:
            ClientLeft: it will not come whole.
        """
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft("the client left before its request was whole")
            more = message.get("more_body", False)
            if message.get("body"):
                yield message["body"]
        self._read.set()

    def skip(self) -> None:
        """There is no body: watch for the client's leaving at once."""
        self._read.set()

    async def client_gone(self) -> None:
        """Return when the client has left. Its body is read first: both come the same way."""
        await self._read.wait()
        await left(self._receive)


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


def _forwarded(headers: list[Header]) -> CIMultiDict[str]:
    """What the server is told. A length beside chunks is not: the body is sent on in chunks of our own."""
    pairs = [(name.decode("latin-1").lower(), _text(value)) for name, value in headers]
    dropped = _dropped(pairs) | {"host"}
    if any(name == "transfer-encoding" for name, _ in pairs):
        dropped |= {"content-length"}
    return CIMultiDict((name, value) for name, value in pairs if name not in dropped)


def _text(value: bytes) -> str:
    """A value so that it goes out as it came: the client library sends UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def returned(answer: aiohttp.ClientResponse) -> list[Header]:
    """The headers of a server's answer that are for its client, byte by byte as they came."""
    pairs = [(name.lower(), value) for name, value in answer.raw_headers]
    dropped = _dropped([(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs])
    return [(name, value) for name, value in pairs if name.decode("latin-1") not in dropped]


async def streamed(answer: aiohttp.ClientResponse, headers: list[Header], send: Send, server: str) -> None:
    """Send a server's answer on under these headers, piece by piece.

    Raises:
        Unavailable: the server broke it off. Its client has the beginning, so no other answer can be given.
    """
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    try:
        async for piece in answer.content.iter_chunked(CHUNK):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    except (aiohttp.ClientError, TimeoutError) as exc:
        raise Unavailable(f"{server} broke its answer off: {exc}") from exc


def _dropped(pairs: list[tuple[str, str]]) -> frozenset[str]:
    """Headers of this connection only: the known ones, and those that Connection names."""
    named = {part.strip().lower() for name, value in pairs if name == "connection" for part in value.split(",")}
    return HOP_BY_HOP | named
