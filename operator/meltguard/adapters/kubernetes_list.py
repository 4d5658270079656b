"""Lists and watch events on the wire: what surrounds the objects, which stay raw."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import msgspec

from meltguard.adapters.kubernetes_client import KubernetesApi, Query
from meltguard.adapters.kubernetes_errors import AT_ONCE, Expired, Status
from meltguard.errors import MeltguardError, Unavailable

T = TypeVar("T")

PAGE: Final = 500
"""Objects a page: large enough to need few requests, small enough that decoding one stalls nobody."""

GONE: Final = 410


class ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    """Where a list stands."""

    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class ListPage(msgspec.Struct, frozen=True):
    """One page."""

    metadata: ListMeta
    items: tuple[msgspec.Raw, ...] | None = None


class WatchEvent(msgspec.Struct, frozen=True):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """A complete list: every object at one resourceVersion."""

    items: list[T]
    resource_version: str


_PAGES: Final = msgspec.json.Decoder(ListPage)
_EVENTS: Final = msgspec.json.Decoder(WatchEvent)
_STATUSES: Final = msgspec.json.Decoder(Status)


async def read_all(
    api: KubernetesApi, path: str, decode: Callable[[msgspec.Raw], T], query: Query | None = None
) -> Listing[T]:
    """Every object of a resource, read with a quorum (no resourceVersion), each page decoded as it comes.

    Raises:
        Unavailable: the API server did not answer, or an answer or object makes no sense.
    """
    items: list[T] = []
    asked = {**(query or {}), "limit": str(PAGE)}
    while True:
        page = _read_page(path, await api.list_page(path, asked))
        items.extend(read_object(path, raw, decode) for raw in page.items or ())
        if not page.metadata.continue_:
            return Listing(items=items, resource_version=page.metadata.resource_version)
        asked["continue"] = page.metadata.continue_


def read_object(path: str, raw: msgspec.Raw, decode: Callable[[msgspec.Raw], T]) -> T:
    """One object. A shape that we cannot read fails the whole: a cluster read in part looks emptier than it is.

    Raises:
        Unavailable: it has another shape than its kind has.
    """
    try:
        return decode(raw)
    except msgspec.DecodeError as exc:
        raise Unavailable(f"an object of {path} cannot be read ({exc}); report this with the object's YAML") from exc


def read_event(path: str, line: bytes) -> WatchEvent:
    """A line of a watch.

    Raises:
        Unavailable: the line is cut or no event, or the server reports an error in the stream.
        Expired: the server no longer has our resourceVersion.
    """
    try:
        event = _EVENTS.decode(line)
        if event.type != "ERROR":
            return event
        raise _stream_error(path, _STATUSES.decode(event.object))
    except msgspec.DecodeError as exc:
        raise Unavailable(f"WATCH {path}: a line was cut or is no event ({exc}); listing again") from exc


def _read_page(path: str, body: bytes) -> ListPage:
    try:
        return _PAGES.decode(body)
    except msgspec.DecodeError as exc:
        raise Unavailable(f"LIST {path}: the answer is no Kubernetes list ({exc}); is this the API server?") from exc


def _stream_error(path: str, status: Status) -> MeltguardError:
    said = f"WATCH {path}: the server ended it: {status.message or status.reason} ({status.code}); listing again"
    return Expired(said, AT_ONCE) if status.code == GONE else Unavailable(said)
