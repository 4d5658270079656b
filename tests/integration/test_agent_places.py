"""202 and a place to poll: the request goes on without its connection, its owner alone gets the answer, once."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from meltguard.agent.place_desk import MOST_LISTENERS
from meltguard.agent.places import LEAVE_WITHIN
from meltguard.agent.settings import PlaceBounds
from meltguard.core.units import Seconds
from support.agent_requests import agent, fetched, idle, report, visit, waiting
from support.agents import FREE, ImageServer, a_lease, ask, look, push
from support.eventually import eventually, soon, until

ASYNC = {"Prefer": "respond-async"}
EVENTS = {"Accept": "text/event-stream"}
HEARD = Seconds(3.0)
"""Who asks all the time is heard so often, also on a machine that stands still for a second or two."""


async def test_a_quick_image_and_a_refusal_come_directly(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=0.0)) as running:
        await push(session, running, a_lease(FREE.model_copy(update={"max_rate": 0.0, "burst": 1.0})))
        patient = {"Prefer": "respond-async, wait=20"}  # so that it is quick on any machine
        assert (await ask(session, running, headers=patient)).status == 200
        assert (await ask(session, running, headers=patient)).status == 429


async def test_a_slow_image_is_fetched_once_by_its_owner(session: aiohttp.ClientSession) -> None:
    held = asyncio.Event()
    async with agent(ImageServer(held=held)) as running:
        first, second = await asyncio.gather(*(ask(session, running, headers=ASYNC) for _ in range(2)))
        assert (first.status, second.status) == (202, 202)
        assert first.headers["preference-applied"] == "respond-async"
        assert first.headers["location"] == first.body["place"] != second.headers["location"]
        states = {each.body["status"]: each for each in (first, second)}
        assert set(states) == {"running", "waiting"}
        assert (states["waiting"].body["position"], "position" in states["running"].body) == (1, False)
        assert 1 <= int(states["waiting"].headers["retry-after"]) <= 30
        path = states["waiting"].headers["location"]
        assert (await visit(session, running, path, user="bob")).status == 404
        assert (await visit(session, running, path + "x")).status == 404
        held.set()
        told = await fetched(session, running, path)
        assert (told.status, told.body) == (200, "image")
        assert (await visit(session, running, path)).status == 410
        assert (await visit(session, running, path, user="bob")).status == 404
        assert (await visit(session, running, "/meltguard/places/pod-2/abc")).status == 421


async def test_who_never_polls_holds_no_gpu_and_no_turn(session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(seconds=60.0)
    places = PlaceBounds(heard_within=Seconds(0.5))
    async with agent(image_server, places=places) as running:
        told = await asyncio.gather(*(ask(session, running, headers=ASYNC) for _ in range(3)))
        assert [each.status for each in told] == [202] * 3

        async def free() -> bool:
            body = await report(session, running)
            return bool(body["inFlight"] == 0 and body["tiers"]["default"]["waiting"] == 0)

        await until(free)
        assert image_server.now == 0
        assert [(await visit(session, running, each.headers["location"])).status for each in told] == [410] * 3


async def test_who_polls_keeps_the_place_beyond_that_time(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=1.5 * HEARD), places=PlaceBounds(heard_within=HEARD)) as running:
        path = (await ask(session, running, headers=ASYNC)).headers["location"]
        assert (await fetched(session, running, path)).status == 200


async def test_an_answer_is_kept_for_a_while_only(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=0.4), places=PlaceBounds(kept_for=Seconds(0.3))) as running:
        path = (await ask(session, running, headers=ASYNC)).headers["location"]
        await eventually(lambda: not running.agent.shelf)
        assert (await visit(session, running, path)).status == 410


BOUNDS = {
    "of all": PlaceBounds(most=1),
    "of a user": PlaceBounds(most_of_user=1),
}


@pytest.mark.parametrize("bounds", BOUNDS.values(), ids=BOUNDS)
async def test_where_places_are_full_the_connection_waits(session: aiohttp.ClientSession, bounds: PlaceBounds) -> None:
    held = asyncio.Event()
    async with agent(ImageServer(held=held), places=bounds) as running:
        asked = [asyncio.create_task(ask(session, running, headers=ASYNC)) for _ in range(3)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        held.set()
        assert sorted(each.status for each in await asyncio.gather(*asked)) == [200, 200, 202]


async def test_an_answer_too_large_to_keep_is_gone(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=0.4), places=PlaceBounds(most_bytes=3)) as running:
        path = (await ask(session, running, headers=ASYNC)).headers["location"]
        assert (await fetched(session, running, path)).status == 410


async def test_an_owner_gives_a_place_up(session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(held=asyncio.Event())
    async with agent(image_server) as running:
        first = asyncio.create_task(ask(session, running))
        await image_server.began.wait()
        path = (await ask(session, running, headers=ASYNC)).headers["location"]
        await waiting(session, running, "default", 1)
        assert (await visit(session, running, path, method="DELETE")).status == 204
        await waiting(session, running, "default", 0)
        image_server.held.set()
        assert (await first).status == 200


async def test_an_operator_may_bound_every_wait(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=0.6), places=PlaceBounds(after=Seconds(0.1))) as running:
        told = await ask(session, running)
        assert told.status == 202
        assert (await fetched(session, running, told.headers["location"])).status == 200


async def test_events_tell_the_position_until_the_answer_is_ready(session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(held=(before := asyncio.Event()))
    async with agent(image_server, places=PlaceBounds(heard_within=HEARD)) as running:
        first = asyncio.create_task(ask(session, running))
        await image_server.began.wait()
        image_server.held = own = asyncio.Event()
        path = (await ask(session, running, headers=ASYNC)).headers["location"]
        url = f"http://{running.data.host}:{running.data.port}{path}"
        async with session.get(url, headers={"X-Meltguard-User": "ann", "Accept": "text/event-stream"}) as answer:
            assert answer.content_type == "text/event-stream"
            assert await answer.content.readline() == b"event: waiting\n"
            assert json.loads((await answer.content.readline()).removeprefix(b"data: "))["position"] == 1
            await asyncio.sleep(1.5 * HEARD)  # who listens is heard
            before.set()
            assert await next_state(answer) == b"event: running\n"
            own.set()
            assert await next_state(answer) == b"event: ready\n"
        assert (await visit(session, running, path)).body == "image"
        assert (await first).status == 200


async def next_state(answer: aiohttp.ClientResponse) -> bytes:
    """The line that says it; while it waits, what it is told of its wait may change."""
    while line := await answer.content.readline():
        if line.startswith(b"event: ") and line != b"event: waiting\n":
            return line
    return b"the end"


async def test_what_an_app_does_after_its_answer_is_not_cut_off_by_the_fetching(
    session: aiohttp.ClientSession,
) -> None:
    goes_on, saved = asyncio.Event(), asyncio.Event()

    async def saving(_scope: Any, _receive: Any, send: Any) -> None:
        await asyncio.sleep(0.3)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"image"})
        await goes_on.wait()
        saved.set()

    async with agent(saving) as running:
        path = (await ask(session, running, headers=ASYNC)).headers["location"]
        assert (await fetched(session, running, path)).status == 200
        asyncio.get_running_loop().call_later(2 * LEAVE_WITHIN, goes_on.set)
        async with soon():
            await saved.wait()
        await idle(running)


async def test_only_so_many_listen_at_one_place(session: aiohttp.ClientSession) -> None:
    async with agent(ImageServer(seconds=60.0)) as running, contextlib.AsyncExitStack() as stack:
        path = (await ask(session, running, headers=ASYNC)).headers["location"]
        url, headers = f"http://127.0.0.1:{running.data.port}{path}", {"X-Meltguard-User": "ann", **EVENTS}
        told = [await stack.enter_async_context(session.get(url, headers=headers)) for _ in range(MOST_LISTENERS + 1)]
        assert [each.status for each in told] == [200] * MOST_LISTENERS + [429]
        assert told[-1].headers["retry-after"] == "2"


async def test_a_server_that_fails_leaves_an_answer(session: aiohttp.ClientSession) -> None:
    async def failing(_scope: Any, _receive: Any, _send: Any) -> None:
        await asyncio.sleep(0.4)
        raise RuntimeError("out of memory")

    async with agent(failing) as running:
        path = (await ask(session, running, headers=ASYNC)).headers["location"]
        assert (await fetched(session, running, path)).status == 500
        assert (await report(session, running))["inFlight"] == 0


async def test_places_are_counted_by_how_far_they_are(session: aiohttp.ClientSession) -> None:
    async def counted() -> dict[str, float]:
        text: str = (await look(session, running, "/metrics")).body
        lines = [line.split() for line in text.splitlines() if line.startswith("meltguard_agent_places")]
        return {
            name.removeprefix("meltguard_agent_places"): float(value) for name, value in lines if "_created" not in name
        }

    image_server = ImageServer(held=(held := asyncio.Event()))
    async with agent(image_server, places=PlaceBounds(most=2)) as running:
        assert set((await counted()).values()) == {0.0}
        told = asyncio.create_task(ask(session, running, headers=ASYNC))
        await image_server.began.wait()
        others = [asyncio.create_task(ask(session, running, headers=ASYNC)) for _ in range(2)]
        assert (await told).status == 202
        await until(lambda: has(counted, **{'{state="running"}': 1.0, '{state="waiting"}': 1.0, "_given_total": 2.0}))
        await until(lambda: has(counted, _full_total=1.0))
        held.set()
        await until(lambda: has(counted, _bytes=10.0, **{'{state="ready"}': 2.0, '{state="waiting"}': 0.0}))
        await asyncio.gather(*others)


async def has(counted: Callable[[], Awaitable[dict[str, float]]], **expected: float) -> bool:
    """Whether these are the counts."""
    found = await counted()
    return all(found[name] == value for name, value in expected.items())
