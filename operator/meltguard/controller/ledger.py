"""Writes an ended loan into its lender's books, before the node's claim comes off."""

import logging
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind
from meltguard.api.to_core import read_pool
from meltguard.controller.books import read_books, write_books
from meltguard.controller.resources import POOLS
from meltguard.core.fleet import Claim, NodeView
from meltguard.core.ledger import closed, ended
from meltguard.core.units import Seconds
from meltguard.errors import Conflict, InvalidInput
from meltguard.ports import Clock

log = logging.getLogger(__name__)

PATIENCE: Final = Seconds(120.0)
"""Beyond a step's deadline; then the node goes home unbooked: no bookkeeping keeps a node from its owners."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The books of all pools, each in its GPUPool's status."""

    api: KubernetesApi
    clock: Clock

    async def close(self, node: NodeView, claim: Claim) -> None:
        """Write the loan down, once, however often this is called.

        Raises:
            Conflict: the GPUPool was written meanwhile; try again.
            Unavailable: the API server did not answer.
        """
        try:
            await self._write(node, claim)
        except InvalidInput as exc:
            log.warning("loan not booked", extra={"node": node.name, "pool": claim.home, "why": str(exc)})
        except Conflict as exc:
            if self.clock.now() <= claim.step_deadline + PATIENCE:
                raise
            log.warning("loan not booked", extra={"node": node.name, "pool": claim.home, "why": str(exc)})

    async def _write(self, node: NodeView, claim: Claim) -> None:
        path = f"{POOLS}/{claim.home}"
        body = await self.api.get(path)
        if body is None:
            return  # the lender is gone, and its books with it
        raw = msgspec.json.decode(body, type=dict[str, Any])
        books = read_books(read_pool(raw).status)
        after = closed(books, ended(node, claim, self.clock.now()), opened=claim.lent_at is not None)
        if after == books:
            return
        version = msgspec.json.decode(body, type=_Versioned).metadata.resource_version
        status = {"ledger": write_books(after).model_dump(mode="json", by_alias=True, exclude_none=True)}
        patch = {"metadata": {"resourceVersion": version}, "status": status}
        await self.api.patch(f"{path}/status", msgspec.json.encode(patch), PatchKind.MERGE)


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str


class _Versioned(msgspec.Struct, frozen=True):
    metadata: _Metadata
