"""AgentPush against agents that misbehave; the obedient ones are in tests/contract/test_ports_sink.py."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from meltguard.adapters.agent_push import AgentPush, PushTiming
from meltguard.api.agent_report import AgentReport, LimitSource
from meltguard.api.signed import PublicKeys, SigningKey
from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput, Unavailable
from meltguard.ports import Target
from support.eventually import soon
from support.fake_apiserver import hang, serving
from support.grants import a_grant, a_target

KEY = SigningKey("k1", b"7" * 32)
QUICK = PushTiming(push=Seconds(0.4), hold=Seconds(0.3), slack=Seconds(0.3))
PATIENT = PushTiming(push=Seconds(60.0), hold=Seconds(0.3), slack=Seconds(60.0))
"""For agents that answer, well or ill: they are not to be given up because the machine stands still."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def a_report(**changes: Any) -> web.Response:
    fields = {"pod_uid": "pod-1", "instance": "i", "uptime": 1.0, "source": LimitSource.LEASE, **changes}
    return web.Response(body=AgentReport(**fields).model_dump_json(by_alias=True), content_type="application/json")


@asynccontextmanager
async def an_agent(handler: Handler, timing: PushTiming = PATIENT) -> AsyncIterator[tuple[AgentPush, Target]]:
    async with serving(handler) as address, AgentPush(KEY, timing) as sink:
        url = URL(address)
        yield sink, a_target(address=str(url.host), port=int(url.port or 0))


async def test_what_is_pushed_is_signed_and_goes_to_the_right_place() -> None:
    seen: list[tuple[str, str, bytes]] = []

    async def take(request: web.Request) -> web.StreamResponse:
        seen.append((request.method, request.path, await request.read()))
        return a_report(epoch=1, revision=1)

    async with an_agent(take) as (sink, target):
        counters = await sink.push(target, a_grant())
    assert (counters.epoch, counters.revision, counters.leased) == (1, 1, True)
    ((method, path, body),) = seen
    assert (method, path) == ("PUT", "/v1/limits")
    assert PublicKeys.parse(KEY.public_text()).open(body).pod_uid == "pod-1"


@pytest.mark.parametrize("code", [400, 401, 403, 409])
async def test_a_refusal_is_told_in_the_agents_words(code: int) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        detail = "revision 3 is older than 5"
        return web.json_response(
            {"title": "No", "detail": detail}, status=code, content_type="application/problem+json"
        )

    async with an_agent(refuse) as (sink, target):
        with pytest.raises(InvalidInput, match=r"serving/pod-1 refuses: revision 3 is older than 5"):
            await sink.push(target, a_grant())


async def page(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>welcome</html>", content_type="text/html")


async def trouble(_: web.Request) -> web.StreamResponse:
    return web.Response(status=503, text="starting")


async def somebody_else(_: web.Request) -> web.StreamResponse:
    return a_report(pod_uid="pod-2")


async def flood(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(64):
        await response.write(b" " * 65_536)
    return response


async def break_off(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def never(request: web.Request) -> web.StreamResponse:
    await hang(request)
    raise AssertionError


TROUBLES = {
    "a page": (page, "does not answer as an agent.*agentPort"),
    "a server error": (trouble, "HTTP 503: starting"),
    "another pod on the address": (somebody_else, "no longer serving/pod-1"),
    "a flood": (flood, "answers more than"),
    "a connection that breaks": (break_off, "cannot be reached"),
    "no answer": (never, r"no answer within 0\.4 s"),
}


@pytest.mark.parametrize(("handler", "said"), TROUBLES.values(), ids=TROUBLES)
async def test_trouble_is_unavailable_and_named(handler: Handler, said: str) -> None:
    async with an_agent(handler, QUICK if handler is never else PATIENT) as (sink, target):
        with pytest.raises(Unavailable, match=said):
            await sink.push(target, a_grant())


async def test_an_agent_that_is_not_there_is_named() -> None:
    async with AgentPush(KEY, QUICK) as sink:
        with pytest.raises(Unavailable, match="serving/pod-1 cannot be reached"):
            await sink.push(a_target(port=9), a_grant())


async def test_hanging_agents_hold_up_nobody_else() -> None:
    async def take(_: web.Request) -> web.StreamResponse:
        return a_report()

    async with an_agent(take) as (sink, healthy), serving(never) as silent:
        url = URL(silent)
        dead = a_target("pod-9", str(url.host), int(url.port or 0))
        waiting = [asyncio.create_task(sink.push(dead, a_grant("pod-9"))) for _ in range(100)]
        await asyncio.gather(*(sink.push(healthy, a_grant()) for _ in range(100)))
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_hanging_agent_is_given_up() -> None:
    async with serving(never) as silent:
        url = URL(silent)
        dead = a_target("pod-9", str(url.host), int(url.port or 0))
        async with AgentPush(KEY, PushTiming(push=Seconds(0.5))) as sink:
            failures = await asyncio.gather(
                *(sink.push(dead, a_grant("pod-9")) for _ in range(100)), return_exceptions=True
            )
    assert all(isinstance(failure, Unavailable) for failure in failures)


async def test_a_connection_is_kept_for_the_next_push() -> None:
    peers: set[Any] = set()

    async def take(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return a_report()

    async with an_agent(take) as (sink, target):
        for _ in range(5):
            await sink.push(target, a_grant())
    assert len(peers) == 1


async def test_a_read_says_how_long_it_may_be_held() -> None:
    asked: list[dict[str, str]] = []

    async def note(request: web.Request) -> web.StreamResponse:
        asked.append(dict(request.query))
        return a_report(sequence=8)

    async with an_agent(note) as (sink, target):
        assert (await sink.read(target, 7)).sequence == 8
        await sink.read(target, -1)
    assert asked == [{"after": "7", "wait": "0.3"}, {"after": "0", "wait": "0"}]


async def test_a_read_that_is_held_too_long_is_given_up() -> None:
    async with an_agent(never, QUICK) as (sink, target), soon():
        with pytest.raises(Unavailable, match="no answer"):
            await sink.read(target, 7)


async def test_a_grant_that_no_document_can_hold_is_not_sent() -> None:
    async with AgentPush(KEY, QUICK) as sink:
        with pytest.raises(InvalidInput, match="do not fit a document"):
            await sink.push(a_target(port=9), a_grant(issued_at=float("nan")))


async def test_a_problem_without_detail_still_says_something() -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.Response(status=403, text=json.dumps("no"))

    async with an_agent(refuse) as (sink, target):
        with pytest.raises(InvalidInput, match='refuses: "no"'):
            await sink.push(target, a_grant())
