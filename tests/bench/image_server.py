"""A stand-in image server in the bench's own process."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from support.valkey import free_port

Answers = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(answers: Answers) -> AsyncIterator[int]:
    """Its port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answers)
    runner = web.AppRunner(app, shutdown_timeout=2.0)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield port
    finally:
        await runner.cleanup()
