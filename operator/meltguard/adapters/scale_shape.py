"""The scale subresource: where it is, and what it says. A Deployment has one, a MachineDeployment, any CRD may."""

from dataclasses import dataclass
from typing import Final

import msgspec

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_list import read_object
from meltguard.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadRef:
    """Something with a scale subresource: a Deployment, a StatefulSet, or a custom one."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""  # empty where it is cluster-scoped


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How many replicas a workload is to have, and has."""

    wanted: int
    present: int
    selector: str  # of its pods, as text


class ScaleMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """Which version of the object it was read from."""

    resource_version: str = ""


class ScaleSpec(msgspec.Struct, frozen=True):
    """What is wanted."""

    replicas: int = 0


class ScaleStatus(msgspec.Struct, frozen=True):
    """What is there."""

    replicas: int = 0
    selector: str = ""


class ScaleShape(msgspec.Struct, frozen=True):
    """The scale subresource."""

    metadata: ScaleMetadata = ScaleMetadata()
    spec: ScaleSpec = ScaleSpec()
    status: ScaleStatus = ScaleStatus()


class ApiResource(msgspec.Struct, frozen=True):
    """One resource that a group serves."""

    name: str
    kind: str


class ApiResources(msgspec.Struct, frozen=True):
    """What discovery says of a group and version."""

    resources: tuple[ApiResource, ...] = ()


SCALES: Final = msgspec.json.Decoder(ScaleShape)
_DISCOVERY: Final = msgspec.json.Decoder(ApiResources)


class ScalePaths:
    """Paths of scale subresources, as discovery tells them; remembered, for they never change."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self._plurals: dict[tuple[str, str], str] = {}

    async def of(self, workload: WorkloadRef) -> str:
        """The path of a workload's scale. Raises InvalidInput where the API server serves no scale for its kind."""
        group = f"/apis/{workload.api_version}" if "/" in workload.api_version else f"/api/{workload.api_version}"
        space = f"/namespaces/{workload.namespace}" if workload.namespace else ""
        return f"{group}{space}/{await self._plural(group, workload)}/{workload.name}/scale"

    async def _plural(self, group: str, workload: WorkloadRef) -> str:
        known = (workload.api_version, workload.kind)
        if known not in self._plurals:
            body = await self._api.get(group)
            served = read_object(group, msgspec.Raw(body), _DISCOVERY.decode).resources if body else ()
            scales = {one.name.removesuffix("/scale") for one in served if one.name.endswith("/scale")}
            name = next((one.name for one in served if one.kind == workload.kind and one.name in scales), None)
            if name is None:
                raise InvalidInput(
                    f"{workload.api_version} {workload.kind} cannot be scaled: the API server serves no scale for it; "
                    "check the apiVersion and kind of workloadRef or scaleRef"
                )
            self._plurals[known] = name
        return self._plurals[known]
