"""A service's baseline document in its ConfigMap: rewritten when the policy changed, or what its GPUs surely do."""

from dataclasses import dataclass
from typing import Final

from meltguard.adapters.kubernetes_objects import KubernetesObjects
from meltguard.api.grants import document_of
from meltguard.api.signed import SigningKey
from meltguard.api.to_core import PolicyObject
from meltguard.controller.events import policy_ref
from meltguard.core.decision import Decision
from meltguard.core.grant import Grant
from meltguard.core.granting import baseline_for, safe_capacity
from meltguard.core.seen import Snapshot
from meltguard.core.units import UnitsPerSecond

WORTH_WRITING: Final = 0.25
"""Share of the capacity by which it must have changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What the last document was made of."""

    generation: int
    pods: int
    capacity: UnitsPerSecond | None


class BaselineKeeper:
    """Keeps one service's document as it should be."""

    def __init__(self, objects: KubernetesObjects, key: SigningKey) -> None:
        self._objects, self._key = objects, key
        self._written: Written | None = None
        self.grant: Grant | None = None  # what the document says; None: not known yet

    async def keep(self, found: PolicyObject, decision: Decision, seen: Snapshot) -> None:
        """Write it, where it would say something else."""
        policy, capacity = found.policy, safe_capacity(decision, seen.ready_pods)
        now = Written(generation=found.generation, pods=seen.ready_pods, capacity=capacity)
        if self._written is not None and not _is_news(self._written, now):
            return
        grant = baseline_for(policy, capacity, seen.ready_pods, decision.at)
        text = self._key.sign(document_of(grant)).model_dump_json(by_alias=True)
        name = f"{policy.name}-meltguard-baseline"
        await self._objects.apply_config_map(policy.namespace, name, {"baseline.json": text}, policy_ref(policy))
        self._written, self.grant = now, grant


def _is_news(before: Written, now: Written) -> bool:
    if (before.generation, before.pods) != (now.generation, now.pods):
        return True
    if before.capacity is None or now.capacity is None:
        return now.capacity is not None and before.capacity is None
    return abs(now.capacity - before.capacity) > WORTH_WRITING * before.capacity
