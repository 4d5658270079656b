"""The API server as raw JSON bodies: every call has a time limit, every failure is one of our errors.

Configuration, credentials and TLS come from the official client; its typed models are left out, because decoding
into them takes a hundred times as long as reading the few fields we need.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

import aiohttp
from multidict import CIMultiDict
from typing_extensions import override
from yarl import URL

from meltguard.adapters.kubernetes_config import NO_FLAGS, Access, Flags, load_access
from meltguard.adapters.kubernetes_errors import Missing, Refusal, error_of, read_status
from meltguard.core.units import Seconds
from meltguard.errors import MeltguardError, Unavailable

CALL_LIMIT: Final = Seconds(10.0)
LIST_LIMIT: Final = Seconds(60.0)
"""One page of a list; a busy server may take long over it."""

OVERDUE: Final = Seconds(10.0)
"""How much later than asked a server may end a watch before we do."""

USER_AGENT: Final = "meltguard"
"""The API server takes it as the field manager of every write that names none."""

CONNECTIONS: Final = 64
Query = Mapping[str, str]


class PatchKind(StrEnum):
    """The four patches that Kubernetes knows, by content type."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEnd:
    """When a watch ends."""

    after: Seconds  # the server ends it then; we do, if it does not
    silence: Seconds  # without a line for this long it counts as dead


@dataclass(frozen=True, slots=True)
class Call:
    """One request."""

    verb: str
    path: str
    query: Query | None = None
    body: bytes | None = None
    content_type: str = "application/json"

    @override
    def __str__(self) -> str:
        return f"{self.verb} {self.path}"


class KubernetesApi:
    """The API server. Paths are absolute (`/api/v1/nodes`), bodies are bytes of JSON.

    Any call may raise `Unavailable` (no answer, 401, 403, 429 with its Retry-After, 5xx) or `InvalidInput` (the
    server finds the request wrong); writes also `Conflict`, `Missing` and `Fenced`.
    """

    def __init__(self, access: Access, flags: Flags) -> None:
        self._host = access.host.rstrip("/")
        self._persona = flags.persona.headers()
        self._credentials = access.credentials
        self._tls_server_name = access.tls_server_name
        self._limit = flags.request_timeout or CALL_LIMIT
        self._list_limit = flags.request_timeout or LIST_LIMIT
        self._session = _open_session(access)
        self._guard: Callable[[], None] | None = None

    @classmethod
    async def connect(cls, kubeconfig: str | None = None, flags: Flags = NO_FLAGS) -> Self:
        """Read the configuration; nothing is asked of the server yet.

        Flags win. Of files a given path wins, then KUBECONFIG, then the pod's ServiceAccount, then ~/.kube/config.

        Raises:
            InvalidInput: no configuration is found, or it cannot be read.
        """
        return cls(await load_access(kubeconfig, flags), flags)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    def within(self, limit: Seconds) -> Self:
        """The same server; each call may take this long."""
        view = copy(self)
        view._limit = limit  # noqa: SLF001 - our own copy
        return view

    def guarded(self, check: Callable[[], None]) -> Self:
        """The same server; `check` is called right before each write and may raise to forbid it."""
        view = copy(self)
        view._guard = check  # noqa: SLF001 - our own copy
        return view

    async def get(self, path: str, query: Query | None = None) -> bytes | None:
        """One object, read with a quorum; None where there is none."""
        try:
            return await self._read(Call("GET", path, query))
        except Missing:
            return None

    async def list_page(self, path: str, query: Query | None = None) -> bytes:
        """One page of a list."""
        return await self.within(self._list_limit)._read(Call("GET", path, query))  # noqa: SLF001 - our own copy

    async def patch(
        self, path: str, body: bytes, kind: PatchKind = PatchKind.JSON, query: Query | None = None
    ) -> bytes:
        """Change an object; the answer is the object afterwards.

        Raises:
            Conflict: a `test` of the patch failed, or another field manager owns a field.
            Missing: the object is gone.
            Fenced: the object holds a later epoch.
        """
        return await self._write(Call("PATCH", path, query, body, kind))

    async def post(self, path: str, body: bytes, query: Query | None = None) -> bytes:
        """Create an object or a subresource. Raises Conflict where it exists, Missing where its parent is gone."""
        return await self._write(Call("POST", path, query, body))

    async def put(self, path: str, body: bytes, query: Query | None = None) -> bytes:
        """Replace an object; with a resourceVersion in the body only if it is still that one, else Conflict."""
        return await self._write(Call("PUT", path, query, body))

    async def delete(self, path: str, body: bytes | None = None) -> bytes | None:
        """Delete an object; None where it was gone already."""
        try:
            return await self._write(Call("DELETE", path, None, body))
        except Missing:
            return None

    async def watch(self, path: str, query: Query, end: WatchEnd) -> AsyncGenerator[list[bytes], None]:
        """Lines of a watch, as many at a time as have come; ends when the server ends it. Use `aclosing`.

        Raises:
            Unavailable: silent for too long, or the connection broke.
            Expired: the server no longer has the resourceVersion.
        """
        asked = {**query, "watch": "1", "timeoutSeconds": str(round(end.after))}
        call = Call("WATCH", path, asked)
        limits = aiohttp.ClientTimeout(total=end.after + OVERDUE, sock_connect=self._limit, sock_read=end.silence)
        async with self._answer(call, limits) as response:
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                if lines:
                    yield lines
            if rest:
                yield [rest]

    async def _write(self, call: Call) -> bytes:
        if self._guard is not None:
            self._guard()
        return await self._read(call)

    async def _read(self, call: Call) -> bytes:
        async with self._answer(call, aiohttp.ClientTimeout(total=self._limit)) as response:
            return await response.read()

    @asynccontextmanager
    async def _answer(self, call: Call, limits: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response, once its status is good; whatever goes wrong until it is read becomes one of our errors."""
        headers = CIMultiDict({"Accept": "application/json", **(await self._credentials.headers())})
        headers.extend(self._persona)
        if call.body is not None:
            headers["Content-Type"] = call.content_type
        verb = "GET" if call.verb == "WATCH" else call.verb
        url = URL(self._host + call.path, encoded=True).update_query(call.query or {})
        try:
            async with self._session.request(
                verb, url, data=call.body, headers=headers, timeout=limits, server_hostname=self._tls_server_name
            ) as response:
                if response.status >= 400:  # noqa: PLR2004 - HTTP
                    raise await _refused(call, response)
                yield response
        except TimeoutError as exc:
            raise Unavailable(f"{call}: no answer from {self._host} within {_spent(limits):.0f} s") from exc
        except aiohttp.ClientError as exc:
            raise Unavailable(f"{call}: {self._host} does not answer: {exc}") from exc


def _open_session(access: Access) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=access.tls, limit=CONNECTIONS),
        headers={"User-Agent": USER_AGENT},
        trust_env=not _on_this_machine(access.host),
        proxy=access.proxy,
    )


async def _refused(call: Call, response: aiohttp.ClientResponse) -> MeltguardError:
    status = read_status(await response.read())
    return error_of(Refusal(doing=str(call), code=response.status, headers=response.headers, status=status))


def _on_this_machine(host: str) -> bool:
    """Loopback is never asked through a proxy, whatever the environment says."""
    name = URL(host).host or ""
    return name in {"localhost", "::1"} or name.startswith("127.")


def _spent(limits: aiohttp.ClientTimeout) -> float:
    return limits.sock_read or limits.total or 0.0
