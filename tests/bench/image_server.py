"""A stand-in image server in the bench's own process."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from support.loopback import on_loopback

Answers = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(answers: Answers) -> AsyncIterator[int]:
    """Its port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answers)
    async with on_loopback(web.AppRunner(app, shutdown_timeout=2.0)) as port:
        yield port
