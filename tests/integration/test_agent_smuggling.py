"""What one connection carries is what the image server gets: no request hides in another one's body."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.abuse_attacks import SMUGGLED, once
from bench.bench_abuse import an_agent

HONEST = b"POST /honest HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def test_no_body_is_left_to_be_read_as_a_request(tmp_path: Path) -> None:
    """Bytes that a server would read as a request's start must be a request that the agent let in."""
    reached: list[bytes] = []

    async def image_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            reached.append(head)
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
            await reader.readexactly(int(lengths[0].partition(b":")[2]) if lengths else 0)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nimage")

    server = await asyncio.start_server(image_server, "127.0.0.1", 0)
    async with server, an_agent(server.sockets[0].getsockname()[1], tmp_path) as (victim, _):
        told = {name: await once(victim.data, victim.bearing(raw)) for name, raw in SMUGGLED.items()}
        after = await once(victim.data, victim.bearing(HONEST))
    assert told["length and chunks"].startswith(b"HTTP/1.1 400")
    assert after.startswith(b"HTTP/1.1 200")
    assert reached[-1].startswith(b"POST /honest")
    assert all(head.startswith((b"POST /i ", b"POST /honest ")) for head in reached)


TARGETS = (
    "@127.0.0.1:{}/x",
    ":80@127.0.0.1:{}/x",
    "http://127.0.0.1:{}/x",
    "http:@127.0.0.1:{}/x",
    "*",
    "/x#@127.0.0.1:{}",
)


async def test_no_request_reaches_another_server(tmp_path: Path) -> None:
    """Put after the image server's address, a target that is no path names another server of the client's choice."""
    reached: Counter[str] = Counter()

    def counting(name: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            reached[name] += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()

        return answer

    ours = await asyncio.start_server(counting("ours"), "127.0.0.1", 0)
    elsewhere = await asyncio.start_server(counting("elsewhere"), "127.0.0.1", 0)
    port = elsewhere.sockets[0].getsockname()[1]
    async with ours, elsewhere, an_agent(ours.sockets[0].getsockname()[1], tmp_path) as (victim, _):
        told = [
            await once(victim.data, victim.bearing(HONEST.replace(b"/honest", target.format(port).encode())))
            for target in TARGETS
        ]
        assert (await once(victim.data, victim.bearing(HONEST))).startswith(b"HTTP/1.1 200")
    assert {answer[:12] for answer in told} == {b"HTTP/1.1 400"}
    assert reached == {"ours": 1}
