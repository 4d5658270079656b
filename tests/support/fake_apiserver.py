"""A small API server on a real socket, to be cut off, silenced and made to lie: list, watch, compare-and-swap."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from support.eventually import eventually
from support.loopback import Answers, answering, everywhere

Json = dict[str, Any]
Fault = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


@dataclass(frozen=True, slots=True)
class Spot:
    """What a path means."""

    base: str  # /api/v1
    namespace: str
    plural: str
    name: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Where the object is kept."""
        return (self.base, self.plural, self.namespace, self.name)


def spot_of(path: str) -> Spot:
    parts = path.strip("/").split("/")
    lead = 2 if parts[0] == "api" else 3
    base, rest = "/" + "/".join(parts[:lead]), parts[lead:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    return Spot(base, namespace, rest[0], rest[1] if len(rest) > 1 else "")


def status(code: int, reason: str, message: str, **details: Any) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
    return web.json_response({**body, "details": details}, status=code)


class FakeApiServer:
    """Objects in memory. `faults` are asked first, in order; the first response wins. `requests` is the log."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str, str], Json] = {}
        self.history: list[tuple[int, str, tuple[str, str, str, str], Json]] = []
        self.version = 1
        self.compacted = 0
        self.faults: list[Fault] = []
        self.lose_replies = 0  # so many writes are committed and never answered
        self.requests: list[str] = []
        self.watchers: list[web.StreamResponse] = []
        self._moved = asyncio.Event()

    def put(self, path: str, body: Json) -> Json:
        """Write an object as somebody else would."""
        spot = spot_of(path)
        key = spot.key
        before = self.objects.get(key)
        self.version += 1
        uid = before["metadata"]["uid"] if before else str(uuid.uuid4())
        named = {"name": spot.name, **({"namespace": spot.namespace} if spot.namespace else {})}
        metadata = {"uid": uid, **body.get("metadata", {}), **named, "resourceVersion": str(self.version)}
        self.objects[key] = {**body, "metadata": metadata}
        self._record("MODIFIED" if before else "ADDED", key, self.objects[key])
        return self.objects[key]

    def remove(self, path: str) -> None:
        """Delete an object as somebody else would."""
        key = spot_of(path).key
        gone = self.objects.pop(key)
        self.version += 1
        self._record("DELETED", key, gone)

    def forget_history(self) -> None:
        """Compact: whoever watches from before now gets 410."""
        self.history.clear()
        self.compacted = self.version

    async def say(self, line: Json | bytes) -> None:
        """Send a line of our own to every watch, or bytes as they are; waits for the first watch."""
        await eventually(lambda: self.watchers)
        for watcher in self.watchers:
            await watcher.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")

    def cut(self) -> None:
        """Break every watch's connection."""
        for watcher in self.watchers:
            request = getattr(watcher, "_req", None)
            if request is not None and request.transport is not None:
                request.transport.abort()
        self.watchers.clear()

    def _record(self, kind: str, key: tuple[str, str, str, str], body: Json) -> None:
        self.history.append((self.version, kind, key, body))
        self._moved.set()
        self._moved = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer any path."""
        self.requests.append(f"{request.method} {request.path_qs}")
        for fault in self.faults:
            answer = await fault(request)
            if answer is not None:
                return answer
        spot = spot_of(request.path)
        if request.query.get("watch"):
            return await self._watch(request, spot)
        if request.method == "GET":
            return self._read(request, spot)
        answer = await self._write(request, spot)
        if self.lose_replies and answer.status < 400:
            self.lose_replies -= 1
            assert request.transport is not None
            request.transport.abort()
        return answer

    def _read(self, request: web.Request, spot: Spot) -> web.Response:
        if spot.name:
            found = self.objects.get(spot.key)
            return web.json_response(found) if found else status(404, "NotFound", "not found", name=spot.name)
        matching = [body for key, body in sorted(self.objects.items()) if self._lists(key, body, request)]
        start = int(request.query.get("continue") or 0)
        end = start + int(request.query.get("limit") or 1 << 30)
        metadata = {"resourceVersion": str(self.version), **({"continue": str(end)} if end < len(matching) else {})}
        return web.json_response({"kind": "List", "metadata": metadata, "items": matching[start:end]})

    def _lists(self, key: tuple[str, str, str, str], body: Json, request: web.Request) -> bool:
        spot = spot_of(request.path)
        node = request.query.get("fieldSelector", "").removeprefix("spec.nodeName=")
        right = key[:2] == (spot.base, spot.plural) and spot.namespace in {"", key[2]}
        wanted = dict(pair.split("=", 1) for pair in request.query.get("labelSelector", "").split(",") if pair)
        labelled = wanted.items() <= (body["metadata"].get("labels") or {}).items()
        return right and labelled and (not node or body.get("spec", {}).get("nodeName") == node)

    async def _watch(self, request: web.Request, spot: Spot) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        self.watchers.append(response)
        since = int(request.query["resourceVersion"])
        if since < self.compacted:
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            await response.write(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
            return response
        try:
            async with asyncio.timeout(float(request.query["timeoutSeconds"])):
                await self._follow(response, spot, since)
        except TimeoutError:
            pass
        self.watchers.remove(response)
        return response

    async def _follow(self, response: web.StreamResponse, spot: Spot, since: int) -> None:
        while True:
            moved = self._moved
            for version, kind, key, body in list(self.history):
                if version > since and key[:2] == (spot.base, spot.plural):
                    await response.write(json.dumps({"type": kind, "object": body}).encode() + b"\n")
            since = max(since, self.version)
            await moved.wait()

    async def _write(self, request: web.Request, spot: Spot) -> web.Response:
        body = await request.json() if request.can_read_body else {}
        if request.method == "POST":
            path = f"{request.path}/{body['metadata']['name']}"
            there = spot_of(path)
            if there.key in self.objects:
                return status(409, "AlreadyExists", "already exists", name=there.name)
            return web.json_response(self.put(path, body), status=201)
        found = self.objects.get(spot.key)
        if found is None:
            return status(404, "NotFound", "not found", name=spot.name)
        if request.method == "DELETE":
            self.remove(request.path)
            return web.json_response(found)
        tested = body.get("metadata", {}).get("resourceVersion")
        if tested and tested != found["metadata"]["resourceVersion"]:
            return status(409, "Conflict", "the object has been modified", name=spot.name)
        metadata = {**found["metadata"], **body.get("metadata", {})}
        whole = body if request.method == "PUT" else {**found, **body, "metadata": metadata}
        return web.json_response(self.put(request.path, whole))


@asynccontextmanager
async def serving(answers: Answers) -> AsyncIterator[str]:
    """A handler for every path on a loopback port; the value is its URL."""
    async with answering(everywhere(answers), handler_cancellation=True) as port:
        yield f"http://127.0.0.1:{port}"


def write_kubeconfig(path: Path, url: str, **user: str) -> Path:
    """A kubeconfig that leads to a URL, as a user with a token where nothing else is given."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": url}}],
        "users": [{"name": "it", "user": user or {"token": "s3cret"}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }
    path.write_text(json.dumps(config))
    return path


async def hang(_: web.Request) -> None:
    """A fault: the server takes the request and never answers."""
    await asyncio.Event().wait()
