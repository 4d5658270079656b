"""A Deployment's updates: held and resumed with one write each, which the mark on it explains."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_list import read_all, read_object
from meltguard.adapters.object_shape import Condition, Metadata
from meltguard.adapters.scale_shape import WorkloadRef
from meltguard.api.rollout_mark import ROLLOUT_HELD, RolloutMarkText, TrialMarkText, read_mark, write_mark
from meltguard.api.rollout_patch import Found, forget, go_on, hold, let_start, resume, step, stop
from meltguard.clock import rfc3339
from meltguard.core.rollout_state import RolloutWrite
from meltguard.core.seen import RolloutMark, RolloutView
from meltguard.errors import InvalidInput

DEPLOYMENTS: Final = "/apis/apps/v1"


class RolloutSpec(msgspec.Struct, frozen=True):
    """Whether updates wait, and what is wanted."""

    paused: bool | None = None
    strategy: dict[str, Any] | None = None
    template: dict[str, Any] | None = None


class RolloutStatus(msgspec.Struct, frozen=True, rename="camel"):
    """How far an update is."""

    replicas: int = 0
    updated_replicas: int = 0
    observed_generation: int = 0
    conditions: tuple[Condition, ...] | None = None

    @property
    def is_stuck(self) -> bool:
        """Whether its deadline for progress is over: nobody need wait for it."""
        return any(one.type == "Progressing" and one.status == "False" for one in self.conditions or ())


class DeploymentShape(msgspec.Struct, frozen=True):
    """As much of a Deployment as rollouts need."""

    metadata: Metadata
    spec: RolloutSpec = RolloutSpec()
    status: RolloutStatus = RolloutStatus()

    @property
    def pending(self) -> bool:
        """Whether its controller has seen a template of which there is no pod."""
        seen = self.status.observed_generation == self.metadata.generation
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
        if (workload.api_version, workload.kind) != ("apps/v1", "Deployment"):
            raise InvalidInput(f"updates of a {workload.kind} cannot be held; only those of an apps/v1 Deployment can")
        path = _path(workload)
        body = await self._api.get(path)
        if body is None:
            raise InvalidInput(f"there is no Deployment {workload.namespace}/{workload.name}; correct workloadRef")
        return _read(read_object(path, msgspec.Raw(body), _DEPLOYMENTS.decode))

    async def held(self) -> Sequence[ReadRollout]:
        """Every Deployment that bears our label; one whose mark cannot be read is left out: it is a person's matter."""
        query = {"labelSelector": f"{ROLLOUT_HELD}=true"}
        found = await read_all(self._api, f"{DEPLOYMENTS}/deployments", _DEPLOYMENTS.decode, query)
        read: list[ReadRollout] = []
        for shape in found.items:
            try:
                read.append(_read(shape))
            except InvalidInput:
                continue
        return read

    async def write(self, read: ReadRollout, write: RolloutWrite, mark: RolloutMark) -> None:
        """Hold, resume or forget, if the workload is still as it was read.

        Raises:
            Conflict: it has changed since: read it again. Missing: it is gone.
        """
        match write:
            case RolloutWrite.HOLD:
                patch = hold(read.found, _text(mark))
            case RolloutWrite.RESUME:
                patch = resume(read.found, read.view.mark)
            case RolloutWrite.FORGET:
                patch = forget(read.found, read.view.mark)
            case RolloutWrite.TRY:
                patch = step(read.found, _text(mark), *let_start())
            case RolloutWrite.PROMOTE:
                patch = step(read.found, _text(mark), *go_on(read.found))
            case RolloutWrite.JUDGE | RolloutWrite.REFUSE | RolloutWrite.LEVEL:
                patch = step(read.found, _text(mark), *stop(read.found))
            case RolloutWrite.TAKE_BACK:
                return  # no write to the workload: its ReplicaSet's
        await self._api.patch(_path(read.workload), msgspec.json.encode(patch))


def _read(shape: DeploymentShape) -> ReadRollout:
    """The view; InvalidInput where its mark cannot be read."""
    text = (shape.metadata.annotations or {}).get(ROLLOUT_HELD)
    return ReadRollout(
        workload=WorkloadRef(
            api_version="apps/v1", kind="Deployment", name=shape.metadata.name, namespace=shape.metadata.namespace
        ),
        view=RolloutView(
            paused=bool(shape.spec.paused),
            mark=None if text is None else read_mark(text),
            updating=shape.updating,
            template=shape.template,
            strategy=shape.strategy,
            pending=shape.pending,
        ),
        found=Found(
            uid=shape.metadata.uid,
            paused=shape.spec.paused,
            annotations=shape.metadata.annotations,
            labels=shape.metadata.labels,
            strategy=shape.strategy,
        ),
    )


def _text(mark: RolloutMark) -> str:
    trial = mark.trial
    written = None
    if trial is not None:
        written = TrialMarkText(
            stage=trial.stage,
            template=trial.template,
            before=trial.before,
            since=rfc3339(trial.since),
            strategy=trial.strategy,
        )
    text = RolloutMarkText(policy=mark.policy, uid=mark.policy_uid, since=rfc3339(mark.since), trial=written)
    return write_mark(text)


def _path(workload: WorkloadRef) -> str:
    return f"{DEPLOYMENTS}/namespaces/{workload.namespace}/deployments/{workload.name}"
