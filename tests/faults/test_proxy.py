"""The proxy fails as it is told to, and only then: a harness that does not strike proves nothing."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web

from faults.proxy import Proxy, door
from faults.rules import (
    Act,
    Answer,
    Drop,
    ErrorInStream,
    Hit,
    Kill,
    LoseReply,
    Match,
    Meddle,
    Moment,
    OldList,
    Reset,
    Rule,
    Twist,
    TwistEvents,
    label_of,
)
from support.fake_apiserver import serving

NODE = "/api/v1/nodes/n1"
CLAIM = "/metadata/annotations/meltguard.io~1loan"


def entering(step: str) -> bytes:
    """A patch that enters a step."""
    return json.dumps([{"op": "add", "path": CLAIM, "value": json.dumps({"step": step})}]).encode()


@dataclass
class Upstream:
    """An API server that counts what reaches it."""

    seen: list[str] = field(default_factory=list)
    events: Sequence[str] = ("ADDED", "MODIFIED", "DELETED")
    lists: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer writes with 200, lists with a number, watches with three events."""
        self.seen.append(f"{request.method} {request.path}")
        if request.query.get("watch"):
            answer = web.StreamResponse()
            await answer.prepare(request)
            for kind in self.events:
                await answer.write(json.dumps({"type": kind, "object": {}}).encode() + b"\n")
            return answer
        if request.path.endswith("/nodes"):
            self.lists += 1
        return web.json_response({"lists": self.lists})


@dataclass
class Ground:
    """The proxy between a client and its upstream."""

    upstream: Upstream
    proxy: Proxy
    url: str
    session: aiohttp.ClientSession
    killed: list[str]

    async def patch(self, step: str = "Claimed") -> int:
        """One write; its code."""
        async with self.session.patch(self.url + NODE, data=entering(step)) as answer:
            return answer.status

    async def watch(self) -> list[str]:
        """The types of a watch's events."""
        async with self.session.get(f"{self.url}/api/v1/nodes?watch=1") as answer:
            return [json.loads(line)["type"] for line in (await answer.read()).splitlines()]


@asynccontextmanager
async def a_ground(*rules: Rule) -> AsyncIterator[Ground]:
    upstream, killed = Upstream(), list[str]()

    async def kill(client: str) -> None:
        killed.append(f"{client} after {len(upstream.seen)}")

    async with serving(upstream.handle) as address, aiohttp.ClientSession() as session:
        proxy = Proxy(address.rstrip("/"), session, kill)
        proxy.arm(*rules)
        async with door(proxy, ("127.0.0.1", 0), "first") as url, aiohttp.ClientSession() as client:
            yield Ground(upstream, proxy, url, client, killed)


def on(label: str, act: Act, **when: int) -> Rule:
    return Rule(match=Match(label=label), act=act, **when)


async def test_writes_are_numbered_and_named() -> None:
    async with a_ground() as ground:
        for step in ("Claimed", "Cordoned"):
            assert await ground.patch(step) == 200
        async with ground.session.get(ground.url + NODE) as answer:
            assert answer.status == 200
        assert [(write.number, write.label) for write in ground.proxy.writes] == [(1, "Claimed"), (2, "Cordoned")]


@pytest.mark.parametrize("act", [Drop(), Reset()])
async def test_what_is_cut_off_never_arrives(act: Act) -> None:
    async with a_ground(on("Claimed", act)) as ground:
        with pytest.raises(aiohttp.ClientError):
            await ground.patch()
        assert ground.upstream.seen == []
        assert await ground.patch() == 200  # once only


async def test_a_lost_reply_was_committed() -> None:
    async with a_ground(on("Claimed", LoseReply())) as ground:
        with pytest.raises(aiohttp.ClientError):
            await ground.patch()
        assert ground.upstream.seen == [f"PATCH {NODE}"]


@pytest.mark.parametrize(("moment", "arrived"), [(Moment.BEFORE, 0), (Moment.AFTER, 1)])
async def test_the_operator_is_killed_on_either_side_of_the_commit(moment: Moment, arrived: int) -> None:
    async with a_ground(on("Cordoned", Kill(moment))) as ground:
        with pytest.raises(aiohttp.ClientError):
            await ground.patch("Cordoned")
        assert ground.killed == [f"first after {arrived}"]
        assert len(ground.upstream.seen) == arrived


async def test_the_second_and_third_are_refused_and_told_when_to_come_back() -> None:
    async with a_ground(on("Claimed", Answer(429, retry_after=7), first=2, times=2)) as ground:
        assert [await ground.patch() for _ in range(4)] == [200, 429, 429, 200]
        assert ground.proxy.strikes == 2


async def test_an_old_list_is_answered_once_more() -> None:
    async with a_ground() as ground:
        url = f"{ground.url}/api/v1/nodes"
        answers = []
        for _ in range(2):
            async with ground.session.get(url) as answer:
                answers.append(await answer.json())
        ground.proxy.add(Rule(match=Match(listing=True), act=OldList()))
        async with ground.session.get(url) as answer:
            assert await answer.json() == answers[0] != answers[1]


TWISTED = {
    Twist.LOSE: ["ADDED", "DELETED"],
    Twist.DOUBLE: ["ADDED", "MODIFIED", "MODIFIED", "DELETED"],
    Twist.SWAP: ["ADDED", "DELETED", "MODIFIED"],
}


@pytest.mark.parametrize(("twist", "expected"), TWISTED.items(), ids=TWISTED)
async def test_events_are_twisted(twist: Twist, expected: list[str]) -> None:
    async with a_ground(Rule(match=Match(watch=True), act=TwistEvents(twist, "MODIFIED"))) as ground:
        assert await ground.watch() == expected
        assert await ground.watch() == list(ground.upstream.events)


async def test_a_stream_begins_with_an_error() -> None:
    async with a_ground(Rule(match=Match(watch=True), act=ErrorInStream(410))) as ground:
        assert await ground.watch() == ["ERROR"]


async def test_somebody_acts_before_the_commit() -> None:
    arrived: list[int] = []
    async with a_ground() as ground:

        async def act(hit: Hit) -> None:
            arrived.append(len(ground.upstream.seen))
            assert hit.write is not None

        ground.proxy.add(on("Claimed", Meddle(Moment.BEFORE, act)))
        await ground.patch()
    assert arrived == [0]


LABELS = {
    ("PATCH", NODE, entering("Lent")): "Lent",
    ("PATCH", NODE, json.dumps([{"op": "remove", "path": CLAIM}]).encode()): "Released",
    ("PATCH", "/api/v1/namespaces/a/pods/p", b'{"metadata":{"annotations":{"meltguard.io/notice":"m"}}}'): "Notice",
    ("POST", "/api/v1/namespaces/a/pods/p/eviction", b"{}"): "Evict",
    ("PATCH", "/apis/apps/v1/namespaces/a/deployments/d/scale", b"[]"): "Scale",
    ("PATCH", "/apis/meltguard.io/v1alpha1/gpupools/x/status", b"{}"): "",
    ("GET", NODE, b""): "",
}


@pytest.mark.parametrize(("request_", "label"), LABELS.items(), ids=[label or "none" for label in LABELS.values()])
def test_a_write_is_named_by_what_it_does(request_: tuple[str, str, bytes], label: str) -> None:
    assert label_of(*request_) == label
