"""ClusterQueues over the API server: one nominalQuota and our mark beside it, in the version that Kueue prefers."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_errors import Missing, NotServed
from meltguard.adapters.kubernetes_list import read_object
from meltguard.core.lent_quota import Quota, QuotaMark
from meltguard.core.quota_ref import QuotaRef
from meltguard.core.units import NodeName
from meltguard.errors import Conflict, InvalidInput

GROUP: Final = "/apis/kueue.x-k8s.io"
MARK: Final = "meltguard.io/lent-quota"
"""On a ClusterQueue: by flavor/resource, what of its quota is lent and what we wrote. It goes with the last loan."""

LARGEST: Final = 9
"""Digits of a number that we take for one of devices."""

T = TypeVar("T")


class _Resource(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    nominal_quota: int | str


class _Flavor(msgspec.Struct, frozen=True):
    name: str
    resources: tuple[_Resource, ...] = ()


class _Group(msgspec.Struct, frozen=True):
    flavors: tuple[_Flavor, ...] = ()


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    resource_groups: tuple[_Group, ...] | None = None


class _Metadata(msgspec.Struct, frozen=True):
    annotations: dict[str, str] | None = None


class _Queue(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()
    spec: _Spec = _Spec()

    @property
    def mark(self) -> str | None:
        return (self.metadata.annotations or {}).get(MARK)


class _Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    lent: int
    wrote: int
    nodes: dict[str, int] = {}


class _Served(msgspec.Struct, frozen=True):
    version: str


class _Versions(msgspec.Struct, frozen=True, rename="camel"):
    preferred_version: _Served


class _Place(msgspec.Struct, frozen=True):
    """Where a number stands in its queue, and as what."""

    flavor: str  # JSON pointer
    resource: str  # JSON pointer
    nominal: int | str


class KubernetesQueues:
    """Reads and writes quotas. Each write tests the number and the mark as they were read, and where they stand."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self._path = ""

    async def read(self, ref: QuotaRef) -> Quota:
        """One number. Raises as the port says."""
        queue = await self._queue(ref)
        return _quota(ref, _place(ref, queue), queue)

    async def write(self, ref: QuotaRef, quota: Quota, read: Quota) -> None:
        """Set number and mark in one request. Raises as the port says."""
        queue = await self._queue(ref)
        place = _place(ref, queue)
        if _quota(ref, place, queue) != read:
            raise Conflict(f"{_name(ref)} is not as it was read; read it again")
        number = str(quota.nominal) if isinstance(place.nominal, str) else quota.nominal
        patch = [
            _test(f"{place.flavor}/name", ref.flavor),
            _test(f"{place.resource}/name", ref.resource),
            _test(f"{place.resource}/nominalQuota", place.nominal),
            {"op": "replace", "path": f"{place.resource}/nominalQuota", "value": number},
            *_mark_patch(queue, _marks(ref.cluster_queue, queue.mark) | {ref.key: _written(quota.mark)}),
        ]
        try:
            await self._api.patch(await self._path_of(ref.cluster_queue), msgspec.json.encode(patch))
        except Missing as exc:
            raise InvalidInput(f"ClusterQueue {ref.cluster_queue} is gone; correct spec.kueue or create it") from exc

    async def marked(self, cluster_queue: str) -> tuple[QuotaRef, ...]:
        """The numbers that bear our mark. Raises as the port says."""
        path = await self._path_of(cluster_queue)
        body = await self._api.get(path)
        queue = read_object(path, msgspec.Raw(body), _decoded(_Queue)) if body is not None else _Queue()
        split = (key.split("/", 1) for key in _marks(cluster_queue, queue.mark))
        return tuple(QuotaRef(cluster_queue=cluster_queue, flavor=flavor, resource=rest[0]) for flavor, *rest in split)

    async def _queue(self, ref: QuotaRef) -> _Queue:
        path = await self._path_of(ref.cluster_queue)
        body = await self._api.get(path)
        if body is None:
            raise InvalidInput(f"there is no ClusterQueue {ref.cluster_queue}; correct spec.kueue or create it")
        return read_object(path, msgspec.Raw(body), _decoded(_Queue))

    async def _path_of(self, cluster_queue: str) -> str:
        if not self._path:
            body = await self._asked()
            versions = read_object(GROUP, msgspec.Raw(body), _decoded(_Versions))
            self._path = f"{GROUP}/{versions.preferred_version.version}/clusterqueues"
        return f"{self._path}/{cluster_queue}"

    async def _asked(self) -> bytes:
        try:
            body = await self._api.get(GROUP)
        except NotServed:
            body = None
        if body is None:
            raise InvalidInput("the API server serves no kueue.x-k8s.io; install Kueue or take spec.kueue off")
        return body


def _place(ref: QuotaRef, queue: _Queue) -> _Place:
    """Where the number is: a flavor stands in one group only."""
    for one, group in enumerate(queue.spec.resource_groups or ()):
        for two, flavor in enumerate(group.flavors):
            for three, resource in enumerate(flavor.resources if flavor.name == ref.flavor else ()):
                if resource.name == ref.resource:
                    pointer = f"/spec/resourceGroups/{one}/flavors/{two}"
                    return _Place(pointer, f"{pointer}/resources/{three}", resource.nominal_quota)
    raise InvalidInput(f"{_name(ref)} is not there; correct spec.kueue or add it to the ClusterQueue")


def _quota(ref: QuotaRef, place: _Place, queue: _Queue) -> Quota:
    text = str(place.nominal)
    if not (text.isascii() and text.isdecimal() and len(text) <= LARGEST):
        raise InvalidInput(f"{_name(ref)} has the nominalQuota {text}; write it as a whole number, like 24")
    mark = _marks(ref.cluster_queue, queue.mark).get(ref.key)
    if mark is None:
        return Quota(nominal=int(text))
    nodes = {NodeName(name): gpus for name, gpus in mark.nodes.items()}
    return Quota(nominal=int(text), mark=QuotaMark(taken=mark.lent, wrote=mark.wrote, nodes=nodes))


def _marks(cluster_queue: str, text: str | None) -> dict[str, _Mark | None]:
    if text is None:
        return {}
    try:
        found = msgspec.json.decode(text, type=dict[str, _Mark])
    except msgspec.DecodeError as exc:
        raise InvalidInput(
            f"annotation {MARK} of ClusterQueue {cluster_queue} cannot be read ({exc}); "
            "set nominalQuota to what it is without loans, less what is lent, and take the annotation off"
        ) from exc
    return dict(found)


def _written(mark: QuotaMark | None) -> _Mark | None:
    return None if mark is None else _Mark(lent=mark.taken, wrote=mark.wrote, nodes=dict(sorted(mark.nodes.items())))


def _mark_patch(queue: _Queue, marks: Mapping[str, _Mark | None]) -> list[dict[str, Any]]:
    """The mark as it is to be, if it is as it was; nothing is left of it where none is wanted."""
    left = {key: mark for key, mark in sorted(marks.items()) if mark is not None}
    text = msgspec.json.encode(left).decode() if left else None
    path = f"/metadata/annotations/{MARK.replace('/', '~1')}"
    if queue.metadata.annotations is None:
        whole = [] if text is None else [{"op": "add", "path": "/metadata/annotations", "value": {MARK: text}}]
        return [_test("/metadata/annotations", None), *whole]
    if text is not None:
        return [_test(path, queue.mark), {"op": "add", "path": path, "value": text}]
    return [_test(path, queue.mark), *([{"op": "remove", "path": path}] if queue.mark is not None else [])]


def _test(path: str, value: int | str | None) -> dict[str, Any]:
    return {"op": "test", "path": path, "value": value}


def _decoded(kind: type[T]) -> Callable[[msgspec.Raw], T]:
    return msgspec.json.Decoder(kind).decode


def _name(ref: QuotaRef) -> str:
    return f"{ref.resource} of flavor {ref.flavor} in ClusterQueue {ref.cluster_queue}"
