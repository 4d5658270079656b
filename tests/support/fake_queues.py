"""Kueue's quotas in memory."""

import asyncio
from dataclasses import dataclass, field

from meltguard.core.lent_quota import Quota
from meltguard.core.quota_ref import QuotaRef
from meltguard.errors import Conflict, InvalidInput
from support.fake_moves import Line


@dataclass
class FakeQueues:
    """Numbers with their marks; one that is a text cannot be read. The line may break at chosen writes."""

    quotas: dict[QuotaRef, Quota | str] = field(default_factory=dict)
    line: Line = field(default_factory=Line)
    written: list[tuple[str, int]] = field(default_factory=list)
    reads: int = 0

    async def read(self, ref: QuotaRef) -> Quota:
        """As the port says."""
        await asyncio.sleep(0)
        self.reads += 1
        found = self.quotas.get(ref)
        if found is None:
            queues = {one.cluster_queue for one in self.quotas}
            missing = "is not there" if ref.cluster_queue in queues else f"there is no ClusterQueue {ref.cluster_queue}"
            raise InvalidInput(f"{ref.key}: {missing}; correct spec.kueue")
        if isinstance(found, str):
            raise InvalidInput(f"{ref.key} has the nominalQuota {found}; write it as a whole number")
        return found

    async def write(self, ref: QuotaRef, quota: Quota, read: Quota) -> None:
        """As the port says."""
        if await self.read(ref) != read:
            raise Conflict(f"{ref.key} is not as it was read")
        with self.line.write():
            self.quotas[ref] = quota
            self.written.append((ref.key, quota.nominal))

    async def marked(self, cluster_queue: str) -> tuple[QuotaRef, ...]:
        """As the port says."""
        await asyncio.sleep(0)
        return tuple(
            ref
            for ref, found in self.quotas.items()
            if ref.cluster_queue == cluster_queue and isinstance(found, Quota) and found.mark is not None
        )
