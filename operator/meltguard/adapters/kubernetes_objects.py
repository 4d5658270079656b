"""The operator's small writes: Events, the baseline's ConfigMap, statuses, replicas, evictions, notices."""

import socket
import uuid
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from meltguard.adapters.event_shape import (
    API_VERSION,
    EventRecord,
    ObjectRef,
    PostedEvent,
    Reporter,
    event_body,
    namespace_of,
    series_patch,
)
from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind
from meltguard.adapters.kubernetes_errors import Missing
from meltguard.adapters.kubernetes_list import read_object
from meltguard.adapters.scale_shape import SCALES, Scale, ScalePaths, WorkloadRef
from meltguard.core.fleet import PodView
from meltguard.errors import InvalidInput
from meltguard.ports import Clock

FIELD_MANAGER: Final = "meltguard"
MOST_CONFIG_MAP: Final = 900_000
"""Bytes of data that we write at most; the API server takes about a mebibyte for the whole object."""


class KubernetesObjects:
    """Writes that stand alone: each is one request and safe to repeat. Every method may raise Unavailable."""

    def __init__(self, api: KubernetesApi, clock: Clock, controller: str = "meltguard.io/operator") -> None:
        self._api = api
        self._clock = clock
        self._reporter = Reporter(controller=controller, instance=socket.gethostname())
        self._scales = ScalePaths(api)

    async def post_event(self, record: EventRecord, previous: PostedEvent | None = None) -> PostedEvent:
        """Say that something happened; with `previous`, that it happened once more (its series counts on).

        An Event's words cannot change: the series keeps the first message. It lives for an hour: where the previous
        one has gone, a new one is made.
        """
        if previous is not None:
            path = f"{_events(previous.namespace)}/{previous.name}"
            patch = series_patch(previous.count + 1, self._clock.now())
            try:
                await self._api.patch(path, msgspec.json.encode(patch), PatchKind.MERGE)
            except Missing:
                return await self._first_event(record)
            return PostedEvent(namespace=previous.namespace, name=previous.name, count=previous.count + 1)
        return await self._first_event(record)

    async def _first_event(self, record: EventRecord) -> PostedEvent:
        name = f"{record.regarding.name[:220]}.{uuid.uuid4().hex[:16]}"
        body = event_body(record, name, self._reporter, self._clock.now())
        namespace = namespace_of(record.regarding)
        await self._api.post(_events(namespace), msgspec.json.encode(body))
        return PostedEvent(namespace=namespace, name=name, count=1)

    async def apply_config_map(self, namespace: str, name: str, data: Mapping[str, str], owner: ObjectRef) -> None:
        """Make a ConfigMap hold this data (by server-side apply); it goes when its owner goes.

        Raises:
            InvalidInput: it would be too large.
        """
        size = sum(len(key) + len(text.encode()) for key, text in data.items())
        if size > MOST_CONFIG_MAP:
            raise InvalidInput(f"ConfigMap {namespace}/{name} would have {size} bytes; at most {MOST_CONFIG_MAP} fit")
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace, "ownerReferences": [_owner_reference(owner)]},
            "data": dict(data),
        }
        path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        await self._api.patch(path, msgspec.json.encode(body), PatchKind.APPLY, query)

    async def patch_status(self, path: str, status: Mapping[str, Any]) -> None:
        """Merge into an object's status; a key with None is removed. Raises Missing where the object is gone."""
        await self._api.patch(f"{path}/status", msgspec.json.encode({"status": status}), PatchKind.MERGE)

    async def read_scale(self, workload: WorkloadRef) -> Scale | None:
        """A workload's replicas; None where there is no such workload.

        Raises:
            InvalidInput: the API server serves no such kind.
        """
        path = await self._scales.of(workload)
        body = await self._api.get(path)
        if body is None:
            return None
        read = read_object(path, msgspec.Raw(body), SCALES.decode)
        return Scale(
            wanted=read.spec.replicas,
            present=read.status.replicas,
            selector=read.status.selector,
        )

    async def set_replicas(self, workload: WorkloadRef, replicas: int, read: Scale) -> None:
        """Ask for this many replicas, if as many are wanted as `read` says. Its status may move on: it always does.

        Raises:
            Conflict: someone else set another number meanwhile; Missing where the workload is gone.
            InvalidInput: the API server serves no such kind.
        """
        wanted = read.wanted or None  # a scale of 0 is written without the field
        patch = [
            {"op": "test", "path": "/spec/replicas", "value": wanted},
            {"op": "add", "path": "/spec/replicas", "value": replicas},
        ]
        await self._api.patch(await self._scales.of(workload), msgspec.json.encode(patch))

    async def evict(self, pod: PodView) -> None:
        """Ask a pod to leave, exactly as it was read. A pod that is gone is no error.

        Raises:
            Conflict: it is another pod, or has changed, since it was read.
            Unavailable: a disruption budget forbids it now; the text names the budget.
        """
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": pod.namespace},
            "deleteOptions": {"preconditions": {"uid": pod.uid, "resourceVersion": pod.resource_version}},
        }
        try:
            await self._api.post(f"{_pod_path(pod)}/eviction", msgspec.json.encode(body))
        except Missing:
            return

    async def annotate_pod(self, pod: PodView, annotations: Mapping[str, str | None]) -> None:
        """Set annotations on exactly this pod; None removes one. Raises Conflict where it is another pod by now."""
        patch = {"metadata": {"uid": pod.uid, "annotations": dict(annotations)}}
        await self._api.patch(_pod_path(pod), msgspec.json.encode(patch), PatchKind.MERGE)


def _owner_reference(owner: ObjectRef) -> dict[str, str]:
    return {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid}


def _events(namespace: str) -> str:
    return f"/apis/{API_VERSION}/namespaces/{namespace}/events"


def _pod_path(pod: PodView) -> str:
    return f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
