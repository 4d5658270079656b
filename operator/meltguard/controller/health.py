"""`/healthz`, `/readyz` and `/metrics`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from meltguard.controller.telemetry import Telemetry

Probe = Callable[[], tuple[str, ...]]
"""What is wrong; nothing where all is well."""


@asynccontextmanager
async def serving_health(
    address: tuple[str, int], probes: tuple[Probe, Probe], shown: Telemetry
) -> AsyncIterator[None]:
    """Answer as long as the context lasts. `probes` are (liveness, readiness)."""
    app = web.Application()
    app.router.add_get("/healthz", _probe(probes[0]))
    app.router.add_get("/readyz", _probe(probes[1]))

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=shown.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, address[0], address[1]).start()
        yield
    finally:
        await runner.cleanup()


def _probe(probe: Probe) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        wrong = probe()
        return web.Response(text="ok" if not wrong else "; ".join(wrong), status=503 if wrong else 200)

    return answer
