"""Holds and resumes updates of the services, and resumes those whose policy holds them no more."""

import logging
from dataclasses import dataclass

from meltguard.adapters.kubernetes_errors import Missing
from meltguard.adapters.kubernetes_objects import KubernetesObjects
from meltguard.adapters.kubernetes_rollouts import KubernetesRollouts, ReadRollout
from meltguard.adapters.recent import Recent
from meltguard.adapters.scale_shape import WorkloadRef
from meltguard.api.to_core import PolicyObject
from meltguard.controller.asked import CustomResources
from meltguard.core.rollout import letting_go
from meltguard.core.rollout_state import Resize, Rollouts, RolloutWrite
from meltguard.core.seen import RolloutMark, RolloutView
from meltguard.core.units import Instant, Seconds
from meltguard.errors import Conflict, InvalidInput, Unavailable

log = logging.getLogger(__name__)

MIRROR_FRESH = Seconds(75.0)
"""Who is missing from an older mirror may only not have been seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRollout:
    """A service's rollout, or why it is not known."""

    read: ReadRollout | None
    problem: str = ""

    @property
    def view(self) -> RolloutView | None:
        """What a decision sees of it."""
        return None if self.read is None else self.read.view


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutKeeper:
    """The one that writes to services' workloads, besides their replicas."""

    rollouts: KubernetesRollouts
    objects: KubernetesObjects
    recent: Recent[WorkloadRef, ReadRollout]

    async def look(self, workload: WorkloadRef | None) -> SeenRollout:
        """A workload's rollout, as read lately; never raises for what the outside does."""
        if workload is None:
            return SeenRollout(read=None, problem="spec.service.workloadRef names no workload; name the Deployment")
        try:
            return SeenRollout(read=await self.recent.of(workload))
        except (InvalidInput, Unavailable) as exc:
            return SeenRollout(read=None, problem=str(exc))

    async def write(self, found: PolicyObject, wanted: Rollouts, read: ReadRollout, at: Instant) -> bool:
        """Hold, try or resume for a policy; False where someone was faster, and the next pass decides anew."""
        write, before = wanted.write, read.view.mark
        if write is None:
            return True
        since = before.since if before is not None else at
        mark = RolloutMark(policy=found.policy.key, policy_uid=found.policy.uid, since=since, trial=wanted.trial)
        self.recent.forget(read.workload)
        try:
            if await self.rollouts.read(read.workload) != read:
                return False
            if wanted.resize is not None:
                await self._resize(read.workload, write, wanted.resize)
            else:
                await self.rollouts.write(read, write, mark)
        except (Conflict, Missing, Unavailable, InvalidInput) as exc:  # limits and status go on without it
            log.warning("rollout not written", extra={"policy": found.policy.key, "write": write, "why": str(exc)})
            return False
        return True

    async def _resize(self, workload: WorkloadRef, write: RolloutWrite, wanted: Resize) -> None:
        """Pods of a refused update go, through the ReplicaSets; their Deployment, which is held, keeps the sum.

        One step may be seen twice: a refused ReplicaSet never grows by us, and the other never shrinks.
        """
        name = WorkloadRef(
            api_version="apps/v1", kind="ReplicaSet", name=wanted.replica_set, namespace=workload.namespace
        )
        read = await self.objects.read_scale(name)
        if read is None:
            return
        due = read.wanted < wanted.pods if write is RolloutWrite.PUT_BACK else read.wanted > wanted.pods
        if due:
            await self.objects.set_replicas(name, wanted.pods, read)

    async def let_go(self, found: PolicyObject, workload: WorkloadRef | None) -> None:
        """Resume what this policy holds: it is being deleted. Raises Unavailable and Conflict: to be tried again."""
        if workload is not None:
            self.recent.forget(workload)
        seen = await self.look(workload)
        if seen.read is not None and _is_of(seen.read, found.policy.uid):
            await self._resume(seen.read)

    async def resume_strays(self, resources: CustomResources) -> tuple[ReadRollout, ...]:
        """Resume what no policy holds any more: it is gone, names another workload, or has no spec.rollouts."""
        held = await self.rollouts.held()
        policies = resources.policies()
        strays = tuple(one for one in held if not _is_held_by(policies, one, resources))
        for one in strays:
            await self._resume(one)
            log.info("rollout resumed", extra={"workload": one.workload.name, "why": "no policy holds it any more"})
        return strays

    async def _resume(self, read: ReadRollout) -> None:
        if read.view.mark is None:
            return
        await self.rollouts.write(read, letting_go(read.view), read.view.mark)


def _is_of(read: ReadRollout, uid: str) -> bool:
    return read.view.mark is not None and read.view.mark.policy_uid == uid


def _is_held_by(policies: dict[str, PolicyObject], one: ReadRollout, resources: CustomResources) -> bool:
    """Whether its policy exists and still means it. A policy that cannot be read is not doubted."""
    uid = one.view.mark.policy_uid if one.view.mark is not None else ""
    found = policies.get(uid)
    if found is None:
        return resources.policy_exists(uid)
    name = found.service.workload
    same = name is not None and (name.kind, name.name) == (one.workload.kind, one.workload.name)
    return same and found.policy.namespace == one.workload.namespace and found.policy.hold_at is not None
