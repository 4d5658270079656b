import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind, WatchEnd
from meltguard.adapters.kubernetes_errors import Missing
from meltguard.core.units import Seconds
from meltguard.errors import Conflict, Fenced, InvalidInput, Unavailable
from support.eventually import soon
from support.fake_apiserver import FakeApiServer, hang, serving, status, write_kubeconfig

NODES = "/api/v1/nodes"
SHORT = Seconds(0.3)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def api_to(handler: Handler, tmp_path: Path) -> AsyncIterator[KubernetesApi]:
    kubeconfig = tmp_path / "kubeconfig"
    async with serving(handler) as url, await KubernetesApi.connect(str(write_kubeconfig(kubeconfig, url))) as api:
        yield api


async def test_an_object_goes_its_whole_way(tmp_path: Path) -> None:
    server = FakeApiServer()
    async with api_to(server.handle, tmp_path) as api:
        assert await api.get(f"{NODES}/n1") is None
        await api.post(NODES, b'{"metadata": {"name": "n1"}}')
        with pytest.raises(Conflict, match="already exists"):
            await api.post(NODES, b'{"metadata": {"name": "n1"}}')
        assert b'"x": "y"' in await api.patch(f"{NODES}/n1", b'{"x": "y"}', PatchKind.MERGE)
        with pytest.raises(Conflict, match="modified"):
            await api.put(f"{NODES}/n1", b'{"metadata": {"name": "n1", "resourceVersion": "1"}}')
        assert await api.delete(f"{NODES}/n1") is not None
        assert await api.delete(f"{NODES}/n1") is None
        with pytest.raises(Missing):
            await api.patch(f"{NODES}/n1", b"{}", PatchKind.MERGE)


async def test_every_call_ends_though_the_server_never_answers(tmp_path: Path) -> None:
    server = FakeApiServer()
    server.faults.append(hang)
    async with api_to(server.handle, tmp_path) as api, soon():
        with pytest.raises(Unavailable, match="GET /api/v1/nodes/n1: no answer"):
            await api.within(SHORT).get(f"{NODES}/n1")


async def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:9")
    async with await KubernetesApi.connect(str(kubeconfig)) as api:
        with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9 does not answer"):
            await api.get(NODES)


async def test_the_token_is_sent_and_never_told(tmp_path: Path) -> None:
    seen: list[str] = []

    async def refuse(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["Authorization"])
        return status(401, "Unauthorized", "Unauthorized")

    async with api_to(refuse, tmp_path) as api:
        with pytest.raises(Unavailable, match="does not accept our credentials") as refused:
            await api.get(NODES)
    assert seen == ["Bearer s3cret"]
    assert "s3cret" not in str(refused.value)


async def test_retry_after_reaches_the_caller(tmp_path: Path) -> None:
    async def throttle(_: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": "4"}, text="slow down")

    async with api_to(throttle, tmp_path) as api:
        with pytest.raises(Unavailable) as told:
            await api.post(NODES, b"{}")
    assert told.value.retry_after == 4.0


async def test_the_fence_stops_a_write(tmp_path: Path) -> None:
    async def fence(_: web.Request) -> web.StreamResponse:
        return status(422, "Invalid", "ValidatingAdmissionPolicy 'meltguard-fence' denied request: old epoch")

    async with api_to(fence, tmp_path) as api:
        with pytest.raises(Fenced, match="old epoch"):
            await api.patch(f"{NODES}/n1", b"[]")


async def test_a_guard_forbids_writes_before_they_leave_and_leaves_reads_alone(tmp_path: Path) -> None:
    server = FakeApiServer()

    def forbid() -> None:
        raise Fenced("not the holder")

    async with api_to(server.handle, tmp_path) as api:
        guarded = api.guarded(forbid)
        assert await guarded.get(f"{NODES}/n1") is None
        for write in (guarded.post(NODES, b"{}"), guarded.patch(NODES, b"[]"), guarded.put(NODES, b"{}")):
            with pytest.raises(Fenced):
                await write
        with pytest.raises(Fenced):
            await guarded.delete(f"{NODES}/n1")
    assert [request for request in server.requests if not request.startswith("GET")] == []


async def test_lines_of_a_watch_are_whole_however_they_are_cut(tmp_path: Path) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b'{"a"', b': 1}\n{"b": 2}\n{"c"', b": 3}\n"):
            await response.write(piece)
            await asyncio.sleep(0.02)
        return response

    end = WatchEnd(after=Seconds(60.0), silence=Seconds(60.0))
    async with api_to(drip, tmp_path) as api, aclosing(api.watch(NODES, {}, end)) as watch:
        lines = [line async for batch in watch for line in batch]
    assert lines == [b'{"a": 1}', b'{"b": 2}', b'{"c": 3}']


async def test_a_silent_watch_is_found_out(tmp_path: Path) -> None:
    server = FakeApiServer()
    end = WatchEnd(after=Seconds(30.0), silence=SHORT)
    query = {"resourceVersion": "1"}
    async with api_to(server.handle, tmp_path) as api, aclosing(api.watch(NODES, query, end)) as watch:
        with pytest.raises(Unavailable, match="no answer"):
            await anext(watch)


async def test_a_token_file_is_read_again_after_a_minute(tmp_path: Path) -> None:
    seen: list[str] = []

    async def note(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["Authorization"])
        return web.json_response({})

    token = tmp_path / "token"
    token.write_text("first")
    async with serving(note) as url:
        kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", url, tokenFile=str(token))
        async with await KubernetesApi.connect(str(kubeconfig)) as api:
            await api.get(NODES)
            token.write_text("second")
            await api.get(NODES)
            api._credentials._read_at -= 61.0
            await api.get(NODES)
            token.unlink()
            api._credentials._read_at -= 61.0
            with pytest.raises(Unavailable, match="cannot read the credentials"):
                await api.get(NODES)
    assert seen == ["Bearer first", "Bearer first", "Bearer second"]


async def test_a_pod_without_a_token_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    with pytest.raises(InvalidInput, match="Service token file does not exist"):
        await KubernetesApi.connect()


async def test_a_path_that_is_given_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(InvalidInput, match="absent"):
        await KubernetesApi.connect()
    given = write_kubeconfig(tmp_path / "given", "http://127.0.0.1:9")
    async with await KubernetesApi.connect(str(given)):
        pass


@pytest.mark.parametrize("text", ["", "{}", "no: yaml: at: all", base64.b64encode(b"x").decode()])
async def test_a_kubeconfig_that_is_none_is_our_users_mistake(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(InvalidInput, match="give --kubeconfig"):
        await KubernetesApi.connect(str(path))
