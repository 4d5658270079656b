"""The load generator against a real agent before the image server, over real sockets."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from meltguard.agent.refusal import ELSEWHERE
from meltguard.agent.server import serving
from meltguard.agent.settings import Address, AgentSettings, Callers, PolicyKey
from meltguard.api.signed import PublicKeys
from meltguard.core.units import Gpus, PodUid
from meltguard.demo.check.evidence import read_results
from meltguard.demo.gpu import card
from meltguard.demo.image_server import PATH, ImageServer
from meltguard.demo.processes import child
from meltguard.demo.records import ENCODER, Endpoint, Endpoints, Result, UsersSetup, replace
from meltguard.sim.recorded import recording
from meltguard.sim.spread import seeded
from support.eventually import eventually
from support.loopback import Answers, answering

TOGETHER = 10
"""Nobody is answered before so many have asked: whoever sends one after the other waits for ever."""


def setup_in(folder: Path, peak: float = 1.0) -> UsersSetup:
    return UsersSetup(
        seed=3,
        speed=60.0,
        base_gpus=40,
        peak=peak,
        lead_in=0.2,
        length=2.0,
        tail=0.2,
        patience=20.0,
        traces=None,
        endpoints=str(folder / "endpoints.json"),
        results=str(folder / "users.jsonl"),
    )


async def sent(folder: Path, setup: UsersSetup) -> tuple[Result, ...]:
    (folder / "setup.json").write_bytes(ENCODER.encode(setup))
    with child("meltguard.demo.users", [str(folder / "setup.json")], folder / "users.log") as users:
        await eventually(lambda: not users.running, within=60.0)
        users.check()
    started, results = read_results(folder / "users.jsonl")
    assert len(results) == started.planned > 10
    return results


@asynccontextmanager
async def an_agent() -> AsyncIterator[str]:
    settings = AgentSettings(
        policy=PolicyKey("serving", "image-gen"),
        pod_uid=PodUid("u"),
        keys=PublicKeys({}),
        listen=Address("127.0.0.1", 0),
        control=Address("127.0.0.1", 0),
        gpus=Gpus(40),
        callers=Callers(trust_gateway=True),
    )
    cards = [card(index, seeded(1, str(index)), 60.0) for index in range(40)]
    server = ImageServer(cards, recording(None), seeded(1, "server"), speed=60.0)
    async with serving(settings, server) as running:
        yield f"http://127.0.0.1:{running.data.port}"


@asynccontextmanager
async def a_server(answers: Answers) -> AsyncIterator[str]:
    async with answering(web.post(PATH, answers)) as port:
        yield f"http://127.0.0.1:{port}"


def tell(folder: Path, **urls: str) -> None:
    pods = tuple(Endpoint(name=name, url=url) for name, url in urls.items())
    replace(folder / "endpoints.json", Endpoints(pods=pods))


def unused_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def test_every_planned_request_is_sent_and_ends(tmp_path: Path) -> None:
    async with an_agent() as url:
        tell(tmp_path, only=url)
        results = await sent(tmp_path, setup_in(tmp_path, peak=0.5))

    assert {result.status for result in results} <= {200, 500, 503}
    assert sum(result.status == 200 for result in results) > 0.5 * len(results)


async def test_a_pod_that_does_not_answer_costs_no_request(tmp_path: Path) -> None:
    async with an_agent() as url:
        tell(tmp_path, gone=unused_url(), there=url)
        results = await sent(tmp_path, setup_in(tmp_path, peak=0.5))

    assert {result.pod for result in results} == {"there"}


async def test_with_nobody_to_send_to_requests_end_unanswered(tmp_path: Path) -> None:
    results = await sent(tmp_path, setup_in(tmp_path))

    assert {(result.status, result.reason) for result in results} == {(0, "no-pod")}


async def test_some_of_the_refused_come_again_with_the_same_key_when_told(tmp_path: Path) -> None:
    keys: list[str] = []

    async def refuse(request: web.Request) -> web.Response:
        keys.append(request.headers["idempotency-key"])
        body = {"reason": "over-rate"}
        return web.json_response(body, status=503, headers={"retry-after": "1"})

    async with a_server(refuse) as url:
        tell(tmp_path, only=url)
        results = await sent(tmp_path, setup_in(tmp_path))

    again = [result for result in results if result.tries > 1]
    assert {result.reason for result in results} == {"over-rate"}
    assert 0 < len(again) < 0.5 * len(results)
    assert all(result.tries == 3 for result in again)
    assert all(keys.count(result.key) == result.tries for result in results)


async def test_a_slow_service_does_not_slow_the_sending(tmp_path: Path) -> None:
    under_way, together = 0, asyncio.Event()

    async def dawdle(_: web.Request) -> web.Response:
        nonlocal under_way
        under_way += 1
        if under_way == TOGETHER:
            together.set()
        await together.wait()
        return web.json_response({})

    async with a_server(dawdle) as url:
        tell(tmp_path, only=url)
        results = await sent(tmp_path, setup_in(tmp_path))

    assert under_way >= TOGETHER
    assert {result.status for result in results} == {200}, "a request waited for the answer to another"


async def test_what_a_stopping_pod_refuses_another_one_answers(tmp_path: Path) -> None:
    async def stopping(_: web.Request) -> web.Response:
        return web.json_response({"reason": "agent-stopping"}, status=503, headers={ELSEWHERE: "1"})

    async def fine(_: web.Request) -> web.Response:
        return web.json_response({})

    async with a_server(stopping) as first, a_server(fine) as second:
        tell(tmp_path, stopping=first, fine=second)
        results = await sent(tmp_path, setup_in(tmp_path))

    assert {(result.status, result.pod) for result in results} == {(200, "fine")}


@pytest.mark.parametrize("arguments", [[], ["a", "b"]])
async def test_a_wrong_call_says_how_to_call(tmp_path: Path, arguments: list[str]) -> None:
    with child("meltguard.demo.users", arguments, tmp_path / "log") as users:
        await eventually(lambda: not users.running, within=20.0)

    assert "usage:" in (tmp_path / "log").read_text(encoding="utf-8")


async def test_a_pod_that_sends_elsewhere_is_obeyed_once(tmp_path: Path) -> None:
    asked: Counter[tuple[str, str]] = Counter()

    def refusing(name: str) -> Answers:
        async def refuse(request: web.Request) -> web.Response:
            asked[request.headers["idempotency-key"], name] += 1
            return web.json_response({"reason": "queue-full"}, status=503, headers={ELSEWHERE: "1"})

        return refuse

    async with a_server(refusing("a")) as first, a_server(refusing("b")) as second:
        tell(tmp_path, a=first, b=second)
        results = await sent(tmp_path, setup_in(tmp_path))

    for result in results:
        assert [(one.reason, one.passed_on) for one in result.turned] == [("queue-full", True), ("queue-full", False)]
        assert (asked[result.key, "a"], asked[result.key, "b"]) == (1, 1)
