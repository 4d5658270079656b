"""Departures over the API server: our mark and cordon on the node, and Cluster API's annotation on its Machine."""

from typing import Any, Final

import msgspec

from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind
from meltguard.adapters.kubernetes_errors import Missing
from meltguard.api.node_patch import mark_patch, unmark_patch
from meltguard.core.fleet import LEAVING_ANNOTATION, NodeView
from meltguard.core.scaling import Removal
from meltguard.core.units import Epoch
from meltguard.errors import InvalidInput

MACHINE: Final = "cluster.x-k8s.io/machine"
CLUSTER_NAMESPACE: Final = "cluster.x-k8s.io/cluster-namespace"
DELETE_MACHINE: Final = "cluster.x-k8s.io/delete-machine"
MACHINES: Final = "/apis/cluster.x-k8s.io/v1beta2"


class KubernetesDepartures:
    """Marks nodes, and where Cluster API made them, their Machines."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    async def mark(self, node: NodeView, order: str, removal: Removal, epoch: Epoch) -> None:
        """Cordon and mark, the node first: a Machine is named only once nothing new can come. Raises as the port."""
        if node.annotations.get(LEAVING_ANNOTATION) != order:
            await self._patch(node, mark_patch(node, order, epoch))
        if removal is Removal.CLUSTER_MACHINE:
            await self._annotate(node, order)

    async def unmark(self, node: NodeView, removal: Removal, epoch: Epoch) -> None:
        """The Machine first: an open node is never named for deletion. Raises as the port."""
        if removal is Removal.CLUSTER_MACHINE:
            await self._annotate(node, None)
        await self._patch(node, unmark_patch(node, epoch))

    async def _patch(self, node: NodeView, ops: list[dict[str, Any]]) -> None:
        query = {"fieldManager": "meltguard"}
        await self._api.patch(f"/api/v1/nodes/{node.name}", msgspec.json.encode(ops), PatchKind.JSON, query)

    async def _annotate(self, node: NodeView, value: str | None) -> None:
        machine, namespace = node.annotations.get(MACHINE), node.annotations.get(CLUSTER_NAMESPACE)
        if not machine or not namespace:
            text = f"node {node.name} names no Machine in {MACHINE}; is it of Cluster API? correct scaleRef.removal"
            raise InvalidInput(text)
        patch = {"metadata": {"annotations": {DELETE_MACHINE: value}}}
        path = f"{MACHINES}/namespaces/{namespace}/machines/{machine}"
        try:
            await self._api.patch(path, msgspec.json.encode(patch), PatchKind.MERGE)
        except Missing as exc:
            raise InvalidInput(f"there is no Machine {namespace}/{machine} for node {node.name}") from exc
