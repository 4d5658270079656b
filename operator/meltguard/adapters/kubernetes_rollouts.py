"""Updates of a Deployment or an Argo Rollout: held and resumed with one write each, which the mark on it explains."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_errors import NotServed
from meltguard.adapters.kubernetes_list import read_all, read_object
from meltguard.adapters.object_shape import Condition, Metadata
from meltguard.adapters.rollout_text import mark_text
from meltguard.adapters.scale_shape import WorkloadRef
from meltguard.api.rollout_mark import ROLLOUT_HELD, read_mark
from meltguard.api.rollout_patch import Found, forget, go_on, hold, is_ours, let_start, resume, step, stop
from meltguard.core.rollout_state import RolloutWrite
from meltguard.core.seen import RolloutMark, RolloutView
from meltguard.errors import InvalidInput

HOLDABLE: Final = {("apps/v1", "Deployment"): "deployments", ("argoproj.io/v1alpha1", "Rollout"): "rollouts"}
"""What has spec.paused, by API version and kind. A Rollout has its own analysis: no update of one is tried by us."""


class RolloutSpec(msgspec.Struct, frozen=True):
    """Whether updates wait, and what is wanted."""

    replicas: int = 1
    paused: bool | None = None
    strategy: dict[str, Any] | None = None
    template: dict[str, Any] | None = None


class RolloutStatus(msgspec.Struct, frozen=True, rename="camel"):
    """How far an update is."""

    replicas: int = 0
    updated_replicas: int = 0
    observed_generation: int | str = 0  # Argo writes it as text
    conditions: tuple[Condition, ...] | None = None

    @property
    def is_stuck(self) -> bool:
        """Whether its deadline for progress is over: nobody need wait for it."""
        return any(one.type == "Progressing" and one.status == "False" for one in self.conditions or ())


class DeploymentShape(msgspec.Struct, frozen=True):
    """As much of a Deployment, or of a Rollout, as holding needs."""

    metadata: Metadata
    spec: RolloutSpec = RolloutSpec()
    status: RolloutStatus = RolloutStatus()

    @property
    def pending(self) -> bool:
        """Whether its controller has seen a template of which there is no pod."""
        seen = str(self.status.observed_generation) == str(self.metadata.generation)
        return seen and self.status.replicas > 0 and self.status.updated_replicas == 0

    @property
    def strategy(self) -> str:
        """How pods are replaced, one after the other, as JSON; "" where all go at once."""
        stepwise = (self.spec.strategy or {}).get("type") == "RollingUpdate"
        return json.dumps(self.spec.strategy, sort_keys=True) if stepwise else ""

    @property
    def template(self) -> str:
        """A digest of the pod template."""
        return hashlib.sha256(json.dumps(self.spec.template, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def updating(self) -> bool:
        """Whether pods of an older template are still there, and are being replaced."""
        return not self.spec.paused and self.status.updated_replicas < self.status.replicas and not self.status.is_stuck


_DEPLOYMENTS: Final = msgspec.json.Decoder(DeploymentShape)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRollout:
    """A workload's rollout, exactly as it was read."""

    workload: WorkloadRef
    view: RolloutView
    found: Found


class KubernetesRollouts:
    """Reads and writes rollouts. Every method may raise Unavailable."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    async def read(self, workload: WorkloadRef) -> ReadRollout:
        """A workload's rollout.

        Raises:
            InvalidInput: updates of this kind cannot be held, there is no such workload, or its mark cannot be read.
        """
        if (workload.api_version, workload.kind) not in HOLDABLE:
            can = " and ".join(f"{version} {kind}" for version, kind in HOLDABLE)
            raise InvalidInput(f"updates of a {workload.kind} cannot be held; only those of {can} can")
        path = _path(workload)
        body = await self._api.get(path)
        if body is None:
            raise InvalidInput(f"there is no {workload.kind} {workload.namespace}/{workload.name}; correct workloadRef")
        return _read(workload, read_object(path, msgspec.Raw(body), _DEPLOYMENTS.decode))

    async def held(self) -> Sequence[ReadRollout]:
        """All that bear our label; one whose mark cannot be read is left out: it is a person's matter."""
        query = {"labelSelector": f"{ROLLOUT_HELD}=true"}
        read: list[ReadRollout] = []
        for (version, kind), plural in HOLDABLE.items():
            try:
                found = await read_all(self._api, f"/apis/{version}/{plural}", _DEPLOYMENTS.decode, query)
            except NotServed:
                continue  # nobody has installed this kind
            for shape in found.items:
                with contextlib.suppress(InvalidInput):
                    read.append(_read(_named(version, kind, shape), shape))
        return read

    async def write(self, read: ReadRollout, write: RolloutWrite, mark: RolloutMark) -> None:
        """Hold, resume or forget, if the workload is still as it was read.

        Raises:
            Conflict: it has changed since: read it again. Missing: it is gone.
        """
        match write:
            case RolloutWrite.HOLD:
                patch = hold(read.found, mark_text(mark))
            case RolloutWrite.RESUME:
                patch = resume(read.found, read.view.mark)
            case RolloutWrite.FORGET:
                patch = forget(read.found, read.view.mark)
            case RolloutWrite.TRY:
                patch = step(read.found, mark_text(mark), *let_start())
            case RolloutWrite.WIDEN | RolloutWrite.PROMOTE:
                patch = step(read.found, mark_text(mark), *go_on(read.found))
            case RolloutWrite.JUDGE | RolloutWrite.REFUSE | RolloutWrite.LEVEL:
                patch = step(read.found, mark_text(mark), *stop(read.found))
            case RolloutWrite.TAKE_BACK | RolloutWrite.PUT_BACK:
                return  # no write to the workload: its ReplicaSets'
        await self._api.patch(_path(read.workload), msgspec.json.encode(patch))


def _named(version: str, kind: str, shape: DeploymentShape) -> WorkloadRef:
    return WorkloadRef(api_version=version, kind=kind, name=shape.metadata.name, namespace=shape.metadata.namespace)


def _read(workload: WorkloadRef, shape: DeploymentShape) -> ReadRollout:
    """The view; InvalidInput where its mark cannot be read."""
    text = (shape.metadata.annotations or {}).get(ROLLOUT_HELD)
    return ReadRollout(
        workload=workload,
        view=RolloutView(
            paused=bool(shape.spec.paused),
            mark=None if text is None else read_mark(text),
            updating=shape.updating,
            template=shape.template,
            strategy=shape.strategy,
            pending=shape.pending,
            our_strategy=is_ours(shape.strategy),
            replicas=shape.spec.replicas,
        ),
        found=Found(
            uid=shape.metadata.uid,
            paused=shape.spec.paused,
            annotations=shape.metadata.annotations,
            labels=shape.metadata.labels,
            strategy=shape.strategy,
        ),
    )


def _path(workload: WorkloadRef) -> str:
    plural = HOLDABLE[workload.api_version, workload.kind]
    return f"/apis/{workload.api_version}/namespaces/{workload.namespace}/{plural}/{workload.name}"
