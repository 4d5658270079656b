"""Who else sets a workload's replicas: an autoscaler that aims at it, or a GitOps tool that applies the number."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_list import read_all
from meltguard.adapters.recent import Recent
from meltguard.adapters.scale_shape import WorkloadRef
from meltguard.ports import Clock

GITOPS: Final = frozenset(
    {
        "argocd-controller",
        "argocd-application-controller",
        "kustomize-controller",
        "helm-controller",
        "fleetagent",
        "Terraform",
        "pulumi-kubernetes",
    }
)
"""Field managers that put their own number back by themselves. A person's kubectl writes once and is left out."""


class OwnerShape(msgspec.Struct, frozen=True):
    """What an object belongs to."""

    kind: str
    name: str


class HpaMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """An autoscaler's name and owners."""

    name: str
    owner_references: tuple[OwnerShape, ...] | None = None


class HpaTarget(msgspec.Struct, frozen=True, rename="camel"):
    """What an autoscaler aims at."""

    kind: str
    name: str
    api_version: str = ""


class HpaSpec(msgspec.Struct, frozen=True, rename="camel"):
    """An autoscaler's task."""

    scale_target_ref: HpaTarget


class HpaShape(msgspec.Struct, frozen=True):
    """A HorizontalPodAutoscaler."""

    metadata: HpaMetadata
    spec: HpaSpec


class ManagedFields(msgspec.Struct, frozen=True, rename="camel"):
    """One writer's fields."""

    manager: str = ""
    subresource: str = ""
    fields_v1: Mapping[str, Any] | None = msgspec.field(name="fieldsV1", default=None)


class WorkloadMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """Who wrote what of a workload."""

    managed_fields: tuple[ManagedFields, ...] | None = None


class WorkloadShape(msgspec.Struct, frozen=True):
    """A workload's writers."""

    metadata: WorkloadMetadata


_HPAS: Final = msgspec.json.Decoder(HpaShape)
_WORKLOADS: Final = msgspec.json.Decoder(WorkloadShape)


class KubernetesAutoscalers:
    """Looks for other writers of replicas. Raises Unavailable where the API server does not answer or refuses."""

    def __init__(self, api: KubernetesApi, clock: Clock) -> None:
        self._api = api
        self._recent = Recent(read=self._hpas, clock=clock)

    async def of(self, workload: WorkloadRef) -> str:
        """Who else sets the workload's replicas, in words; "" where nobody is seen to."""
        return autoscaler(await self._hpas(workload.namespace), workload) or await self._gitops(workload)

    async def lately(self, workload: WorkloadRef) -> str:
        """The same by the namespace's autoscalers as read lately, by whichever of its services asked first."""
        return autoscaler(await self._recent.of(workload.namespace), workload) or await self._gitops(workload)

    async def _hpas(self, namespace: str) -> Sequence[HpaShape]:
        path = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
        return (await read_all(self._api, path, _HPAS.decode)).items

    async def _gitops(self, workload: WorkloadRef) -> str:
        """Read where we may read it: a Deployment. Of other kinds only the scale is ours to see."""
        if (workload.api_version, workload.kind) != ("apps/v1", "Deployment"):
            return ""
        body = await self._api.get(f"/apis/apps/v1/namespaces/{workload.namespace}/deployments/{workload.name}")
        return "" if body is None else applier(_WORKLOADS.decode(body).metadata.managed_fields or ())


def autoscaler(found: Iterable[HpaShape], workload: WorkloadRef) -> str:
    """The autoscaler that aims at the workload; KEDA's by the ScaledObject that people know.

    >>> target = HpaTarget(kind="Deployment", name="image-gen", api_version="apps/v1")
    >>> hpa = HpaShape(metadata=HpaMetadata(name="by-cpu"), spec=HpaSpec(scale_target_ref=target))
    >>> autoscaler([hpa], WorkloadRef(api_version="apps/v1", kind="Deployment", name="image-gen", namespace="serving"))
    'HorizontalPodAutoscaler by-cpu'
    """
    group = workload.api_version.rpartition("/")[0]
    for hpa in found:
        target = hpa.spec.scale_target_ref
        if (target.kind, target.name) != (workload.kind, workload.name):
            continue
        if target.api_version and target.api_version.rpartition("/")[0] != group:
            continue
        owner = next((one for one in hpa.metadata.owner_references or () if one.kind == "ScaledObject"), None)
        return f"KEDA's ScaledObject {owner.name}" if owner else f"HorizontalPodAutoscaler {hpa.metadata.name}"
    return ""


def applier(fields: Iterable[ManagedFields]) -> str:
    """The GitOps tool that owns spec.replicas."""
    for one in fields:
        spec = (one.fields_v1 or {}).get("f:spec")
        if one.manager in GITOPS and not one.subresource and isinstance(spec, dict) and "f:replicas" in spec:
            return f"{one.manager}, which applies spec.replicas"
    return ""
