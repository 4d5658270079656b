"""NodeMoves over the API server: one step, one fenced request."""

from collections.abc import Sequence

import msgspec

from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind
from meltguard.api.node_patch import PatchOp, enter_patch, release_patch
from meltguard.core.fleet import Claim, NodeView
from meltguard.core.units import Epoch

FIELD_MANAGER = "meltguard"


class KubernetesMoves:
    """Writes claims and their effects onto nodes."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    async def enter(self, node: NodeView, claim: Claim, epoch: Epoch) -> None:
        """Write the claim with its new step, and that step's effect, in one request. Raises as the port says."""
        await self._patch(node, enter_patch(node, claim, epoch))

    async def release(self, node: NodeView, claim: Claim, epoch: Epoch) -> None:
        """Put other owners' marks back and remove the claim, in one request. Raises as the port says."""
        await self._patch(node, release_patch(node, claim, epoch))

    async def _patch(self, node: NodeView, ops: Sequence[PatchOp]) -> None:
        query = {"fieldManager": FIELD_MANAGER}
        await self._api.patch(f"/api/v1/nodes/{node.name}", msgspec.json.encode(ops), PatchKind.JSON, query)
