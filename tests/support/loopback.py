"""A web server of the tests on a loopback port."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

MOST_BODY = 2**30
Answers = Callable[[web.Request], Awaitable[web.StreamResponse]]


def everywhere(answers: Answers) -> web.RouteDef:
    """The route of whoever answers whatever is asked."""
    return web.route("*", "/{path:.*}", answers)


@asynccontextmanager
async def answering(*routes: web.RouteDef, **manner: Any) -> AsyncIterator[int]:
    """The port on which these are answered until the block ends; `manner` is the runner's."""
    app = web.Application(client_max_size=MOST_BODY)
    app.add_routes(routes)
    runner = web.AppRunner(app, **{"shutdown_timeout": 0.1, **manner})
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
