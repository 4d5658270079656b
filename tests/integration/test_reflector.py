import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import pytest
from aiohttp import web

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.reflector import Changes, Reflector, Resource, Timing
from meltguard.clock import SystemClock
from meltguard.core.units import Seconds
from support.eventually import eventually, soon
from support.fake_apiserver import FakeApiServer, serving, write_kubeconfig

NODES = "/api/v1/nodes"


class Meta(msgspec.Struct, frozen=True):
    """Who a thing is."""

    name: str
    uid: str
    labels: dict[str, str] = {}


class Thing(msgspec.Struct, frozen=True):
    """What is mirrored here."""

    metadata: Meta
    weight: int = 0


THINGS = Resource(path=NODES, decode=msgspec.json.Decoder(Thing).decode, key=lambda thing: thing.metadata.uid)
LONG = Timing(relist_every=Seconds(60.0), silence=Seconds(30.0), longest_pause=Seconds(0.5))
BRISK = Timing(relist_every=Seconds(1.0), silence=Seconds(30.0), longest_pause=Seconds(0.5))


@dataclass
class Mirrored:
    """A server and its mirror."""

    server: FakeApiServer
    reflector: Reflector[Thing]
    changes: Changes
    task: asyncio.Task[Any]

    def names(self) -> list[str]:
        """What the mirror shows."""
        return sorted(thing.metadata.name for thing in self.reflector.snapshot().values())

    async def until_named(self, *names: str, within: float = 8.0) -> None:
        """Wait until the mirror shows just these."""
        await eventually(lambda: self.names() == list(names), within)

    def heard_since(self, moment: float) -> bool:
        """Whether there was a sign of life after it, by the clock that only runs on."""
        return self.reflector.age <= monotonic() - moment

    async def until_listed(self, times: int) -> None:
        """Wait until so many complete lists have come."""
        await eventually(lambda: self.reflector.health.lists >= times)


@asynccontextmanager
async def mirrored(tmp_path: Path, timing: Timing, *names: str) -> AsyncIterator[Mirrored]:
    server = FakeApiServer()
    for name in names:
        server.put(f"{NODES}/{name}", {})
    async with serving(server.handle) as url:
        kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", url)
        async with await KubernetesApi.connect(str(kubeconfig)) as api:
            changes = Changes()
            reflector = Reflector(api, THINGS, changes, SystemClock(), timing)
            task = asyncio.create_task(reflector.run())
            async with soon():
                await reflector.synced()
            await eventually(lambda: server.watchers)
            yield Mirrored(server, reflector, changes, task)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_changes_arrive_as_they_happen(tmp_path: Path) -> None:
    async with mirrored(tmp_path, LONG, "a") as seen:
        assert seen.names() == ["a"]
        seen.server.put(f"{NODES}/b", {"weight": 1})
        await seen.until_named("a", "b")
        seen.server.remove(f"{NODES}/a")
        await seen.until_named("b")
        assert [thing.weight for thing in seen.reflector.snapshot().values()] == [1]
        assert seen.reflector.health.lists == 1


async def test_a_long_list_comes_in_pages_and_is_shown_whole(tmp_path: Path) -> None:
    names = [f"n{number:04}" for number in range(1203)]
    async with mirrored(tmp_path, LONG, *names) as seen:
        assert seen.names() == names
    pages = [request for request in seen.server.requests if "limit=500" in request]
    assert len(pages) == 3
    assert not any("resourceVersion=0" in request for request in seen.server.requests)


async def test_after_a_gap_that_the_server_has_forgotten_there_are_no_ghosts(tmp_path: Path) -> None:
    async with mirrored(tmp_path, LONG, "gone", "stays") as seen:
        seen.server.remove(f"{NODES}/gone")
        seen.server.put(f"{NODES}/stays", {"weight": 2})  # the version moves on: the present watch is too old
        seen.server.forget_history()
        seen.server.cut()
        await seen.until_named("stays")


async def test_an_expired_version_means_a_new_list_at_once(tmp_path: Path) -> None:
    async with mirrored(tmp_path, LONG, "a") as seen:
        gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
        seen.server.objects.pop(("/api/v1", "nodes", "", "a"))  # its DELETED event is never sent
        await seen.server.say({"type": "ERROR", "object": gone})
        await seen.until_named()


async def test_an_error_in_the_stream_is_survived_and_counted(tmp_path: Path) -> None:
    async with mirrored(tmp_path, LONG, "a") as seen:
        trouble = {"kind": "Status", "code": 500, "message": "etcdserver: leader changed"}
        await seen.server.say({"type": "ERROR", "object": trouble})
        await seen.until_listed(2)
        assert seen.reflector.health.errors == 1
        assert seen.reflector.health.problem == ""
        assert seen.names() == ["a"]


async def test_a_line_that_is_cut_is_survived(tmp_path: Path) -> None:
    async with mirrored(tmp_path, LONG, "a") as seen:
        await seen.server.say(b'{"type": "DELETED", "obj')
        seen.server.cut()
        await seen.until_listed(2)
        assert seen.names() == ["a"]


async def test_what_a_watch_never_told_shows_with_the_next_list(tmp_path: Path) -> None:
    async with mirrored(tmp_path, BRISK, "a", "b") as seen:
        seen.server.objects.pop(("/api/v1", "nodes", "", "a"))
        await seen.until_named("b")
        assert seen.reflector.health.errors == 0


async def test_a_silent_watch_is_left(tmp_path: Path) -> None:
    silent = Timing(relist_every=Seconds(60.0), silence=Seconds(0.4), longest_pause=Seconds(0.5))
    async with mirrored(tmp_path, silent, "a", "b") as seen:
        seen.server.objects.pop(("/api/v1", "nodes", "", "a"))
        await seen.until_named("b")
        assert seen.reflector.health.errors >= 1


async def test_bookmarks_prove_life_and_change_nothing(tmp_path: Path) -> None:
    async with mirrored(tmp_path, LONG, "a") as seen:
        version = seen.changes.version
        await eventually(lambda: seen.reflector.age > 0.3)
        before = monotonic()
        bookmark = {"kind": "Node", "metadata": {"resourceVersion": "99", "creationTimestamp": None}, "spec": {}}
        await seen.server.say({"type": "BOOKMARK", "object": bookmark})
        await eventually(lambda: seen.heard_since(before))
        assert seen.changes.version == version


async def test_a_heartbeat_that_changes_nothing_we_keep_wakes_nobody(tmp_path: Path) -> None:
    async with mirrored(tmp_path, LONG, "a") as seen:
        version = seen.changes.version
        await eventually(lambda: seen.reflector.age > 0.3)
        before = monotonic()
        seen.server.put(f"{NODES}/a", {"status": {"heartbeat": 1}})
        await eventually(lambda: seen.heard_since(before))
        assert seen.changes.version == version
        seen.server.put(f"{NODES}/a", {"weight": 1})
        await eventually(lambda: seen.changes.version == version + 1)


async def test_while_the_server_is_away_the_last_view_stays_and_ages(tmp_path: Path) -> None:
    async def away(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503, text="starting")

    async with mirrored(tmp_path, LONG, "a") as seen:
        seen.server.faults.append(away)
        seen.server.cut()
        await eventually(lambda: "503" in seen.reflector.health.problem)
        assert seen.names() == ["a"]
        await eventually(lambda: seen.reflector.age > 0.3)
        seen.server.faults.clear()
        seen.server.put(f"{NODES}/b", {})
        await seen.until_named("a", "b")
        assert seen.reflector.health.problem == ""
        assert not seen.task.done()


async def test_an_object_that_cannot_be_read_stops_the_view_loudly(tmp_path: Path) -> None:
    """A cluster read in part looks emptier than it is: better an old view whose age tells."""
    async with mirrored(tmp_path, LONG, "a") as seen:
        seen.server.put(f"{NODES}/b", {"weight": "heavy"})
        await eventually(lambda: "cannot be read" in seen.reflector.health.problem)
        assert seen.names() == ["a"]
        seen.server.put(f"{NODES}/b", {"weight": 3})
        await seen.until_named("a", "b")


async def test_a_server_that_ends_every_watch_at_once_is_not_stormed(tmp_path: Path) -> None:
    async def end_at_once(request: web.Request) -> web.StreamResponse | None:
        return web.Response() if request.query.get("watch") else None

    async with mirrored(tmp_path, LONG, "a") as seen:
        seen.server.faults.append(end_at_once)
        seen.server.cut()
        await seen.until_listed(2)
        before, began = seen.reflector.health.lists, monotonic()
        await asyncio.sleep(1.2)
        assert seen.reflector.health.lists - before <= 3 * (monotonic() - began) / 1.2


async def test_who_waits_for_a_change_is_woken_by_it_alone(tmp_path: Path) -> None:
    async with mirrored(tmp_path, LONG, "a") as seen:
        version = seen.changes.version
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await seen.changes.after(version)
        waiting = [asyncio.create_task(seen.changes.after(version)) for _ in range(3)]
        await asyncio.sleep(0)
        seen.server.put(f"{NODES}/b", {})
        async with soon():
            assert await asyncio.gather(*waiting) == [version + 1] * 3
