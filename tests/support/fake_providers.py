"""Fakes of what the buyer works with: providers, marks on nodes, and the books; all may break at a chosen write."""

import asyncio
from dataclasses import dataclass, field, replace

from meltguard.api.provider_status import ProviderStatus
from meltguard.controller.order_books import ReadPool
from meltguard.core.fleet import EPOCH_ANNOTATION, LEAVING_ANNOTATION, NodeView
from meltguard.core.purchases import Scale
from meltguard.core.scaling import Removal, Scaling
from meltguard.core.units import Epoch, PoolName
from meltguard.errors import Conflict, Fenced, InvalidInput
from meltguard.ports import ReadScale
from support.fake_moves import FakeResources, Line
from support.fakes import FakeFleet


@dataclass
class FakeProviders:
    """Objects with a scale, by name."""

    scales: dict[str, Scale] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    line: Line = field(default_factory=Line)

    def put(self, name: str, scale: Scale) -> None:
        """As somebody else writes it."""
        self.scales[name] = scale
        self.versions[name] = self.versions.get(name, 0) + 1

    async def read(self, scaling: Scaling) -> ReadScale:
        """As the port says."""
        await asyncio.sleep(0)
        if scaling.name not in self.scales:
            raise InvalidInput(f"there is no {scaling.kind} {scaling.name}")
        found = self.scales[scaling.name]
        shown = found if scaling.refused_by else replace(found, refusing="")
        return ReadScale(scale=shown, version=str(self.versions[scaling.name]))

    async def scale(self, scaling: Scaling, replicas: int, read: ReadScale) -> None:
        """As the port says."""
        await asyncio.sleep(0)
        if scaling.name not in self.scales:
            raise InvalidInput(f"{scaling.kind} {scaling.name} is gone")
        with self.line.write():
            if read.version != str(self.versions[scaling.name]):
                raise Conflict(f"{scaling.name} was written since it was read")
            self.put(scaling.name, replace(self.scales[scaling.name], wanted=replicas))


@dataclass
class FakeDepartures:
    """Marks on the fleet's nodes."""

    fleet: FakeFleet
    line: Line = field(default_factory=Line)

    async def mark(self, node: NodeView, order: str, removal: Removal, epoch: Epoch) -> None:
        """As the port says."""
        present = await self._present(node, epoch)
        if removal is Removal.CLUSTER_MACHINE:
            raise InvalidInput(f"node {node.name} names no Machine")
        if node.annotations.get(LEAVING_ANNOTATION) == order:
            return
        if present.claim is not None or present.unschedulable:
            raise Conflict(f"node {node.name} is not as it was read")
        self._put(present, {**present.annotations, LEAVING_ANNOTATION: order}, epoch, cordoned=True)

    async def unmark(self, node: NodeView, removal: Removal, epoch: Epoch) -> None:
        """As the port says."""
        present = await self._present(node, epoch)
        if removal is Removal.CLUSTER_MACHINE:
            raise InvalidInput(f"node {node.name} names no Machine")
        if present.annotations.get(LEAVING_ANNOTATION) != node.annotations[LEAVING_ANNOTATION]:
            raise Conflict(f"node {node.name} bears another mark than was read")
        left = {key: text for key, text in present.annotations.items() if key != LEAVING_ANNOTATION}
        self._put(present, left, epoch, cordoned=False)

    async def _present(self, node: NodeView, epoch: Epoch) -> NodeView:
        await asyncio.sleep(0)
        present = self.fleet.nodes.get(node.name)
        if present is None or present.uid != node.uid:
            raise Conflict(f"node {node.name} is another one")
        if int(present.annotations.get(EPOCH_ANNOTATION, "0")) > epoch:
            raise Fenced(f"node {node.name} was written by a later leader")
        return present

    def _put(self, node: NodeView, annotations: dict[str, str], epoch: Epoch, *, cordoned: bool) -> None:
        with self.line.write():
            marks = {**annotations, EPOCH_ANNOTATION: str(epoch)}
            self.fleet.put(replace(node, annotations=marks, unschedulable=cordoned))


@dataclass
class FakeOrderBooks:
    """Books in the pools' statuses; the mirror of the pools follows at once."""

    resources: FakeResources
    line: Line = field(default_factory=Line)
    versions: dict[str, int] = field(default_factory=dict)
    written: list[ProviderStatus] = field(default_factory=list)

    async def read(self, pool: PoolName) -> ReadPool | None:
        """As the store says."""
        await asyncio.sleep(0)
        found = next((one for one in self.resources.lent if one.pool.name == pool), None)
        return None if found is None else ReadPool(found=found, version=str(self.versions.get(pool, 0)))

    async def write(self, pool: PoolName, version: str, status: ProviderStatus) -> str:
        """As the store says."""
        await asyncio.sleep(0)
        with self.line.write():
            if version != str(self.versions.get(pool, 0)):
                raise Conflict(f"GPUPool {pool} was written since it was read")
            self.versions[pool] = self.versions.get(pool, 0) + 1
            self.resources.lent = tuple(
                replace(one, status=one.status.model_copy(update={"provider": status}))
                if one.pool.name == pool
                else one
                for one in self.resources.lent
            )
            self.written.append(status)
        return str(self.versions[pool])
