"""What the local runner answers, on a kubelet's own ports: whether it is healthy, and `kubectl logs`."""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web

from meltguard.core.units import Seconds
from meltguard.localcluster.kubelet.site import Site

HEALTH_PORT: Final = 10248
LOGS_PORT: Final = 10250
FOLLOW_EVERY: Final = Seconds(0.2)
LAST_WORDS: Final = Seconds(1.0)


@asynccontextmanager
async def health_answered(site: Site) -> AsyncIterator[None]:
    """Answer /healthz while the body runs."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    async with _served(app, site.node_ip, HEALTH_PORT, None):
        yield


@asynccontextmanager
async def logs_answered(site: Site) -> AsyncIterator[None]:
    """Answer what the API server asks for `kubectl logs`, and nobody else, while the body runs."""

    async def logs(request: web.Request) -> web.StreamResponse:
        log = site.log_of(request.match_info["namespace"], request.match_info["pod"])
        if not log.is_file() or log.parent != site.logs:
            raise web.HTTPNotFound(text=f"there is no output of {request.match_info['pod']} yet")
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        await _send(site, log, request, response)
        return response

    app = web.Application()
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", logs)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=site.endpoint.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(site.serving.certificate, site.serving.key)
    async with _served(app, site.node_ip, LOGS_PORT, context):
        yield


async def _send(site: Site, log: Path, request: web.Request, response: web.StreamResponse) -> None:
    """The file, or its last lines; then, if asked to follow, what is added until the process ends."""
    with log.open("rb") as lines:
        asked = request.query.get("tailLines")
        await response.write(b"".join(deque(lines, maxlen=int(asked)) if asked else lines))
        while request.query.get("follow") == "true" and log in site.written:
            await asyncio.sleep(FOLLOW_EVERY)
            await response.write(lines.read())


@asynccontextmanager
async def _served(app: web.Application, address: str, port: int, tls: ssl.SSLContext | None) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=LAST_WORDS)
    await runner.setup()
    await web.TCPSite(runner, address, port, ssl_context=tls).start()
    try:
        yield
    finally:
        await runner.cleanup()
