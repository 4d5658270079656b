"""The replicas of services' workloads: what is wanted of them, who else sets them, and our own number."""

import logging

from meltguard.adapters.kubernetes_autoscalers import KubernetesAutoscalers
from meltguard.adapters.kubernetes_objects import KubernetesObjects
from meltguard.adapters.recent import Recent
from meltguard.adapters.scale_shape import WorkloadRef
from meltguard.api.to_core import PolicyObject
from meltguard.core.decision import SetReplicas
from meltguard.core.policy import ReplicaWriter
from meltguard.core.seen import Workload
from meltguard.errors import Conflict, MeltguardError
from meltguard.ports import Clock

log = logging.getLogger(__name__)


class Workloads:
    """Reads and writes them. Decisions are made on what was read lately, writes on what is read then."""

    def __init__(self, objects: KubernetesObjects, autoscalers: KubernetesAutoscalers, clock: Clock) -> None:
        self._objects = objects
        self._autoscalers = autoscalers
        self._recent = Recent(read=self._read_lately, clock=clock)

    async def lately(self, found: PolicyObject) -> Workload | None:
        """A service's workload; None where it has none, or where it is not known: then it is never fought."""
        reference, capacity = workload_ref(found), found.policy.capacity
        if reference is None or (capacity is not None and capacity.replicas is ReplicaWriter.OTHERS):
            return None
        try:
            return await self._recent.of(reference)
        except MeltguardError:
            return None

    async def now(self, found: PolicyObject) -> Workload | None:
        """The same, read anew; None where there is none. Raises as `KubernetesObjects.read_scale`."""
        reference = workload_ref(found)
        if reference is None:
            return None
        scale = await self._objects.read_scale(reference)
        return Workload(replicas=scale.wanted, scaled_by=await self._autoscalers.of(reference)) if scale else None

    async def write(self, found: PolicyObject, change: SetReplicas | None, seen: Workload | None) -> None:
        """Ask for our number, if all is as it was seen; else it is decided anew at the next pass.

        Raises Unavailable, and InvalidInput where its kind is not served.
        """
        reference = workload_ref(found)
        if change is None or reference is None or seen is None:
            return
        self._recent.forget(reference)
        if await self._autoscalers.of(reference) != seen.scaled_by:
            return
        read = await self._objects.read_scale(reference)
        if read is None or read.wanted != seen.replicas:
            return
        try:
            await self._objects.set_replicas(reference, change.replicas, read)
        except Conflict as exc:
            log.info("replicas not set", extra={"policy": found.policy.key, "why": str(exc)})

    async def _read_lately(self, reference: WorkloadRef) -> Workload | None:
        scale = await self._objects.read_scale(reference)
        return Workload(replicas=scale.wanted, scaled_by=await self._autoscalers.lately(reference)) if scale else None


def workload_ref(found: PolicyObject) -> WorkloadRef | None:
    """The workload whose replicas follow the capacity."""
    name = found.service.workload
    if name is None:
        return None
    return WorkloadRef(api_version=name.api_version, kind=name.kind, name=name.name, namespace=found.policy.namespace)
