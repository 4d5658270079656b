"""The plane's objects, as the demo makes and reads them with the administrator's rights."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind
from meltguard.adapters.kubernetes_fleet import KubernetesFleet
from meltguard.adapters.kubernetes_list import read_all
from meltguard.adapters.pod_shape import read_pod
from meltguard.core.units import Seconds
from meltguard.demo.check.fleet import NodeObject, decode_node
from meltguard.demo.check.pods import PodSeen
from meltguard.errors import InvalidInput, Unavailable

PLACES: Final[Mapping[str, tuple[str, str]]] = {
    "Namespace": ("/api/v1", "namespaces"),
    "Node": ("/api/v1", "nodes"),
    "ConfigMap": ("/api/v1", "configmaps"),
    "DaemonSet": ("/apis/apps/v1", "daemonsets"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "PriorityClass": ("/apis/scheduling.k8s.io/v1", "priorityclasses"),
    "RoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    "Job": ("/apis/batch/v1", "jobs"),
    "GPUPool": ("/apis/meltguard.io/v1alpha1", "gpupools"),
    "ImageServicePolicy": ("/apis/meltguard.io/v1alpha1", "imageservicepolicies"),
}
"""Where each kind that the demo uses lives, and its plural."""


def path_of(made: Mapping[str, Any]) -> str:
    """Where an object's kind is listed and created, in the object's namespace."""
    root, plural = PLACES[made["kind"]]
    namespace = made["metadata"].get("namespace")
    return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"


async def create(api: KubernetesApi, made: Mapping[str, Any]) -> None:
    """Create one object. Raises InvalidInput where the API server finds it wrong."""
    await api.post(path_of(made), json.dumps(made).encode())


async def remove_finalizers(api: KubernetesApi, path: str) -> None:
    """Let an object go whose finalizer nobody will remove any more."""
    await api.patch(path, b'{"metadata":{"finalizers":null}}', PatchKind.MERGE)


async def nodes(api: KubernetesApi, names: tuple[str, ...]) -> dict[str, NodeObject]:
    """These nodes as the API server has them; those that are gone are missing."""
    listing = await read_all(api, "/api/v1/nodes", _node)
    return {node.name: node for node in listing.items if node.name in names}


async def pods_of(api: KubernetesApi, namespace: str) -> tuple[PodSeen, ...]:
    """The pods of a namespace that are bound to a node and have not ended."""
    listing = await read_all(api, f"/api/v1/namespaces/{namespace}/pods", read_pod)
    return tuple(
        PodSeen(uid=str(pod.uid), namespace=pod.namespace, name=pod.name, node=pod.node)
        for pod in listing.items
        if pod.node and not pod.finished
    )


async def until(fleet: KubernetesFleet, holds: Callable[[], bool], within: Seconds, what: str) -> None:
    """Wait until a condition on the mirrored nodes and pods holds.

    Raises:
        Unavailable: it does not in time; the text says what was awaited.
    """
    try:
        async with asyncio.timeout(within):
            seen = fleet.changes.version
            while not holds():
                seen = await fleet.changes.after(seen)
    except TimeoutError as exc:
        raise Unavailable(f"waited {within:.0f} s in vain for {what}") from exc


def _node(raw: msgspec.Raw) -> NodeObject:
    try:
        return decode_node(bytes(raw))
    except InvalidInput as exc:
        raise msgspec.DecodeError(str(exc)) from exc
