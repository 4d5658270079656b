"""Where orders are written down: the status of their GPUPool, read with a quorum, written only as it was read."""

from dataclasses import dataclass
from typing import Any

import msgspec

from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind
from meltguard.api.provider_status import ProviderStatus
from meltguard.api.to_core import PoolObject, read_pool
from meltguard.controller.resources import POOLS
from meltguard.core.units import PoolName


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPool:
    """A GPUPool, as read."""

    found: PoolObject
    version: str  # resourceVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderBooks:
    """The books of all providers."""

    api: KubernetesApi

    async def read(self, pool: PoolName) -> ReadPool | None:
        """A pool with its books; None where it is gone. Raises InvalidInput, Unavailable."""
        body = await self.api.get(f"{POOLS}/{pool}")
        if body is None:
            return None
        found = read_pool(msgspec.json.decode(body, type=dict[str, Any]))
        return ReadPool(found=found, version=_version(body))

    async def write(self, pool: PoolName, version: str, status: ProviderStatus) -> str:
        """Replace the books; the resourceVersion afterwards.

        Raises:
            Conflict: the pool was written since it was read.
            InvalidInput: it is gone.
            Unavailable: the API server did not answer; the write may or may not have happened.
        """
        body = {"provider": status.model_dump(mode="json", by_alias=True)}
        patch = {"metadata": {"resourceVersion": version}, "status": body}
        return _version(await self.api.patch(f"{POOLS}/{pool}/status", msgspec.json.encode(patch), PatchKind.MERGE))


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str


class _Versioned(msgspec.Struct, frozen=True):
    metadata: _Metadata


def _version(body: bytes) -> str:
    return msgspec.json.decode(body, type=_Versioned).metadata.resource_version
