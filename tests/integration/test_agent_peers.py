"""A place is polled, listened to, fetched and given up at any pod of its service."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from meltguard.agent.place_relay import MOST_OF_OWNER, Passed
from meltguard.agent.settings import Callers, PlaceBounds
from meltguard.clock import SystemClock
from meltguard.core.units import Seconds, TierName
from support.agent_requests import agent, fetched, url_of, visit
from support.agents import ImageServer, ask
from support.eventually import eventually
from support.issuer import a_key, a_token, issuing, rules
from support.peers import a_pass_text, a_place_at, peers, stand_in

ASYNC = {"Prefer": "respond-async"}
EVENTS = {"Accept": "text/event-stream"}


async def test_any_pod_tells_where_a_request_is_and_gives_its_owner_the_image_once(
    session: aiohttp.ClientSession,
) -> None:
    held = asyncio.Event()
    async with peers(ImageServer(held=held), count=3) as (holder, second, third):
        path = (await ask(session, holder, headers=ASYNC)).headers["location"]
        told = await visit(session, second, path)
        assert (told.status, told.body["status"], told.body["place"]) == (202, "running", path)
        assert told.headers["location"] == path
        assert "retry-after" in told.headers
        assert not any(name.startswith("x-meltguard") for name in told.headers)
        assert (await visit(session, second, path, user="bob")).status == 404
        held.set()
        made = await fetched(session, third, path)
        assert (made.status, made.body) == (200, "image")
        assert [(await visit(session, each, path)).status for each in (holder, second, third)] == [410] * 3
        assert second.agent.place_relay.passed[Passed.ANSWERED] == 3


async def test_a_bearer_of_a_token_is_known_at_any_pod(session: aiohttp.ClientSession) -> None:
    key = a_key()
    ann, bob = ({"Authorization": f"Bearer {a_token(key, sub=name)}"} for name in ("ann", "bob"))
    async with issuing(key) as issuer:
        callers = Callers(tokens=rules(issuer.url), default_tier=TierName("free"))
        async with peers(ImageServer(seconds=60.0), callers=callers) as (holder, other):
            path = (await ask(session, holder, headers={**ASYNC, **ann})).headers["location"]
            asked = [await visit(session, other, path, user="ann", headers=each) for each in (ann, bob, {})]
            assert [each.status for each in asked] == [202, 404, 404]


async def test_any_pod_takes_a_place_back(session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(seconds=60.0)
    async with peers(image_server) as (holder, other):
        path = (await ask(session, holder, headers=ASYNC)).headers["location"]
        assert (await visit(session, other, path, method="POST")).status == 405
        assert (await visit(session, other, path, method="DELETE")).status == 204
        await eventually(lambda: image_server.now == 0)
        assert (await visit(session, other, path)).status == 410


async def test_any_pod_tells_events_as_they_come(session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(seconds=0.0, held=asyncio.Event())
    async with peers(image_server) as (holder, other):
        first = asyncio.create_task(ask(session, holder))
        await image_server.began.wait()
        path = (await ask(session, holder, headers=ASYNC)).headers["location"]
        headers = {"X-Meltguard-User": "ann", **EVENTS}
        async with session.get(url_of(other, path), headers=headers) as answer:
            assert answer.content_type == "text/event-stream"
            assert await answer.content.readline() == b"event: waiting\n"
            image_server.held.set()
            rest = (await answer.text()).split("\n\n")
        assert json.loads(rest[0].removeprefix("data: "))["position"] == 1
        assert [part.split("\n")[0] for part in rest if part.startswith("event")][-1] == "event: ready"
        assert (await visit(session, other, path)).body == "image"
        assert (await first).status == 200


async def test_who_stops_listening_at_one_pod_is_no_listener_at_the_other(session: aiohttp.ClientSession) -> None:
    async with peers(ImageServer(seconds=60.0)) as (holder, other):
        path = (await ask(session, holder, headers=ASYNC)).headers["location"]
        (place,) = holder.agent.shelf
        async with session.get(url_of(other, path), headers={"X-Meltguard-User": "ann", **EVENTS}) as answer:
            assert await answer.content.readline() == b"event: running\n"
            assert place.listeners == 1
            answer.close()
        await eventually(lambda: place.listeners == 0)


async def test_a_large_answer_comes_whole_with_its_own_headers(session: aiohttp.ClientSession) -> None:
    image = bytes(range(256)) * 32_768  # 8 MiB

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await asyncio.sleep(0.3)
        own = [(b"content-type", b"image/png"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=\xc3\xa9")]
        await send({"type": "http.response.start", "status": 201, "headers": own})
        for begin in range(0, len(image), 1_000_000):
            await send({"type": "http.response.body", "body": image[begin : begin + 1_000_000], "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with peers(app) as (holder, other):
        path = (await ask(session, holder, headers=ASYNC)).headers["location"]
        await eventually(lambda: [str(place.state) for place in holder.agent.shelf] == ["ready"])
        async with session.get(url_of(other, path), headers={"X-Meltguard-User": "ann"}) as answer:
            assert (answer.status, answer.content_type) == (201, "image/png")
            cookies = [value for name, value in answer.raw_headers if name.lower() == b"set-cookie"]
            assert cookies == [b"a=1", b"b=\xc3\xa9"]
            assert await answer.read() == image


async def test_a_pod_that_is_gone_is_told_with_what_to_do(session: aiohttp.ClientSession) -> None:
    async with peers(ImageServer(), count=1) as (other,):
        async with agent(ImageServer()) as ended:
            gone = a_pass_text(pod_uid="pod-9", port=ended.control.port)
        told = await visit(session, other, f"/meltguard/places/pod-9/{gone}/abc")
        assert told.status == 410
        assert "same Idempotency-Key" in told.body["detail"]
        assert other.agent.place_relay.passed[Passed.GONE] == 1


async def test_whoever_has_the_address_of_a_pod_that_is_gone_hears_nothing_of_its_clients(
    session: aiohttp.ClientSession,
) -> None:
    heard: list[web.Request] = []

    async def stranger(request: web.Request) -> web.Response:
        heard.append(request)
        return web.Response(body=b"an image, trust me")

    async with peers(ImageServer(), count=1) as (other,), stand_in(stranger) as port:
        own = {"Authorization": "Bearer secret", "Cookie": "session=1", "X-Forwarded-For": "1.2.3.4"}
        told = await visit(session, other, a_place_at(port), headers=own)
        assert (told.status, "is gone" in told.body["detail"]) == (410, True)
        assert heard[0].path == "/v1/places/pod-9/abc"
        named = {name.lower() for name in heard[0].headers}
        told_to_all = {"host", "accept", "accept-encoding", "user-agent", "connection"}
        assert named - told_to_all == {"x-meltguard-teller", "x-meltguard-place-owner"}


async def test_another_agent_at_the_address_of_a_pod_is_not_the_pod(session: aiohttp.ClientSession) -> None:
    async with peers(ImageServer()) as (other, newcomer):
        old = a_pass_text(pod_uid="pod-9", port=newcomer.control.port)
        told = await visit(session, other, f"/meltguard/places/pod-9/{old}/abc")
        assert (told.status, "is gone" in told.body["detail"]) == (410, True)


async def test_a_pod_that_says_nothing_is_not_waited_for(session: aiohttp.ClientSession) -> None:
    ends = asyncio.Event()

    async def silent(_request: web.Request) -> web.Response:
        await ends.wait()
        return web.Response()

    bounds = PlaceBounds(peer_within=Seconds(0.2))
    async with peers(ImageServer(), count=1, places=bounds) as (other,), stand_in(silent) as port:
        told = await visit(session, other, a_place_at(port))
        assert (told.status, told.headers["retry-after"]) == (503, "2")
        assert other.agent.place_relay.passed[Passed.UNREACHED] == 1


async def test_who_leaves_ends_the_question_and_nobody_may_have_many(session: aiohttp.ClientSession) -> None:
    open_now: list[web.Request] = []

    async def silent(request: web.Request) -> web.Response:
        open_now.append(request)
        try:
            await asyncio.Event().wait()
        finally:
            open_now.remove(request)
        return web.Response()

    async with peers(ImageServer(), count=1) as (other,), stand_in(silent) as port:
        path = a_place_at(port)
        asked = [asyncio.create_task(visit(session, other, path)) for _ in range(MOST_OF_OWNER)]
        await eventually(lambda: len(open_now) == MOST_OF_OWNER)
        told = await visit(session, other, path)
        assert (told.status, "too many" in told.body["detail"]) == (503, True)
        for each in asked:
            each.cancel()
        await eventually(lambda: not open_now)
        await eventually(lambda: not other.agent.place_relay._of_owner)


FORGED = {
    "no pass": ("pod-9/abc", 421, "no lease"),
    "not signed": ("pod-9/e30.e30.e30/abc", 404, "Location"),
    "another pod's": ("pod-9/{good}/abc", 404, "Location"),
    "another service's": ("pod-1/{other}/abc", 404, "Location"),
    "too old": ("pod-1/{old}/abc", 410, "older"),
    "no id": ("pod-1/{good}/", 404, "Location"),
    "a path for an id": ("pod-1/{good}/a%2F..%2F..%2Fv1%2Flimits", 404, "Location"),
    "a query for an id": ("pod-1/{good}/a%3Fb", 404, "Location"),
}


@pytest.mark.parametrize(("path", "status", "words"), FORGED.values(), ids=FORGED)
async def test_an_address_that_no_pod_gave_leads_nowhere(
    session: aiohttp.ClientSession, path: str, status: int, words: str
) -> None:
    heard: list[web.Request] = []

    async def target(request: web.Request) -> web.Response:
        heard.append(request)
        return web.Response()

    async with peers(ImageServer(), count=1) as (running,), stand_in(target) as port:
        passes = {
            "good": a_pass_text(port=port),
            "other": a_pass_text(policy="serving/other", port=port),
            "old": a_pass_text(port=port, until=SystemClock().now() - 1.0),
        }
        told = await visit(session, running, f"/meltguard/places/{path.format(**passes)}")
        assert (told.status, words in told.body["detail"], heard) == (status, True, [])


async def test_without_a_lease_nothing_is_passed_on(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer()) as alone:
        told = await visit(session, alone, f"/meltguard/places/pod-9/{a_pass_text(pod_uid='pod-9')}/abc")
        assert (told.status, "no lease" in told.body["detail"]) == (421, True)
        assert (await ask(session, alone, headers={**ASYNC})).status == 200


TELLERS = {
    "nobody": ({}, 403),
    "no pass": ({"X-Meltguard-Teller": "e30.e30.e30"}, 403),
    "from elsewhere": ({"X-Meltguard-Teller": a_pass_text(address="10.0.0.7")}, 403),
    "of another service": ({"X-Meltguard-Teller": a_pass_text(policy="serving/other")}, 403),
    "for nobody": ({"X-Meltguard-Teller": a_pass_text()}, 400),
}


@pytest.mark.parametrize(("headers", "status"), TELLERS.values(), ids=TELLERS)
async def test_only_an_agent_of_the_service_may_ask_for_others(
    session: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    async with peers(ImageServer(seconds=60.0), count=1) as (holder,):
        path = (await ask(session, holder, headers=ASYNC)).headers["location"]
        url = f"http://127.0.0.1:{holder.control.port}/v1/places/pod-0/{path.rpartition('/')[2]}"
        named = {"X-Meltguard-Place-Owner": "ann"} if status == 403 else {}
        async with session.get(url, headers={**headers, **named}) as answer:
            assert answer.status == status
            assert answer.headers["x-meltguard-place"] == "not-taken"
