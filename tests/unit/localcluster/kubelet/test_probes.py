import asyncio

from aiohttp import web

from meltguard.localcluster.kubelet.probes import Tally, Verdicts, watch_probes
from meltguard.localcluster.kubelet.shapes import Container, HttpGet, Port, Probe
from support.eventually import soon


def test_thresholds_count_answers_in_a_row() -> None:
    tally = Tally(Probe(success_threshold=2, failure_threshold=3))
    answers = [True, False, False, True, False, False, False, True, True]
    assert [tally.take(answer) for answer in answers] == [None, None, None, None, None, None, False, None, True]


class Server:
    """Answers as it is told."""

    def __init__(self) -> None:
        self.codes = {"/ready": 503, "/live": 200, "/started": 200}

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        return web.Response(status=self.codes[request.path])


async def started(server: Server) -> tuple[web.AppRunner, int]:
    """What ends it, and its port."""
    app = web.Application()
    app.router.add_get("/{any}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


async def test_a_container_gets_ready_stops_being_ready_and_dies() -> None:
    server = Server()
    runner, port = await started(server)
    told: asyncio.Queue[str] = asyncio.Queue()

    async def ready(turned: bool) -> None:  # noqa: FBT001 - the value itself
        await told.put("ready" if turned else "not ready")

    async def dead() -> None:
        await told.put("dead")

    def probe(path: str) -> Probe:
        return Probe(http_get=HttpGet(path=path, port="http"), period_seconds=0, failure_threshold=2)

    container = Container(
        name="c",
        ports=(Port(name="http", container_port=port),),
        startup_probe=probe("/started"),
        readiness_probe=probe("/ready"),
        liveness_probe=probe("/live"),
    )
    watching = asyncio.create_task(watch_probes(container, "127.0.0.1", Verdicts(ready=ready, dead=dead)))
    try:
        async with soon(10.0):
            server.codes["/ready"] = 204
            assert await told.get() == "ready"
            server.codes["/ready"] = 503
            assert await told.get() == "not ready"
            server.codes["/live"] = 500
            assert await told.get() == "dead"
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await runner.cleanup()


async def test_a_container_without_probes_is_ready_and_one_that_never_starts_is_dead() -> None:
    told: list[str] = []

    async def ready(turned: bool) -> None:  # noqa: FBT001 - the value itself
        told.append(f"ready {turned}")

    async def dead() -> None:
        told.append("dead")

    verdicts = Verdicts(ready=ready, dead=dead)
    async with soon(10.0):
        await watch_probes(Container(name="c"), "127.0.0.1", verdicts)
        never = Probe(http_get=HttpGet(port=1), period_seconds=0)
        await watch_probes(Container(name="c", startup_probe=never), "127.0.0.1", verdicts)
    assert told == ["ready True", "dead"]
