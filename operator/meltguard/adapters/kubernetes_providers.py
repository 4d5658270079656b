"""Providers over the API server: the scale subresource of whatever makes a pool's nodes."""

from typing import Final

import msgspec

from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind
from meltguard.adapters.kubernetes_errors import Missing
from meltguard.adapters.kubernetes_list import read_object
from meltguard.adapters.scale_shape import SCALES, ScalePaths, WorkloadRef
from meltguard.core.purchases import Scale
from meltguard.core.scaling import Scaling
from meltguard.errors import InvalidInput
from meltguard.ports import ReadScale


class _Said(msgspec.Struct, frozen=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class _Status(msgspec.Struct, frozen=True):
    conditions: tuple[_Said, ...] | None = None


class _Object(msgspec.Struct, frozen=True):
    status: _Status = _Status()


_OBJECTS: Final = msgspec.json.Decoder(_Object)


class KubernetesProviders:
    """Reads and writes replicas of what makes nodes."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self._paths = ScalePaths(api)

    async def read(self, scaling: Scaling) -> ReadScale:
        """What the object says now. Raises as the port says."""
        path = await self._paths.of(_ref(scaling))
        body = await self._api.get(path)
        if body is None:
            raise InvalidInput(f"there is no {scaling.kind} {_name(scaling)}; correct scaleRef or create it")
        shape = read_object(path, msgspec.Raw(body), SCALES.decode)
        refusing = await self._refusing(path.removesuffix("/scale"), scaling)
        scale = Scale(wanted=shape.spec.replicas, present=shape.status.replicas, refusing=refusing)
        return ReadScale(scale=scale, version=shape.metadata.resource_version)

    async def scale(self, scaling: Scaling, replicas: int, read: ReadScale) -> None:
        """Ask for this many replicas, if the object is still as it was read. Raises as the port says."""
        path = await self._paths.of(_ref(scaling))
        patch = {"metadata": {"resourceVersion": read.version}, "spec": {"replicas": replicas}}
        try:
            await self._api.patch(path, msgspec.json.encode(patch), PatchKind.MERGE)
        except Missing as exc:
            raise InvalidInput(f"{scaling.kind} {_name(scaling)} is gone; correct scaleRef or create it") from exc

    async def _refusing(self, path: str, scaling: Scaling) -> str:
        """The object's own words for having no capacity."""
        if not scaling.refused_by:
            return ""
        body = await self._api.get(path)
        conditions = read_object(path, msgspec.Raw(body), _OBJECTS.decode).status.conditions if body else ()
        said = next((one for one in conditions or () if one.type == scaling.refused_by and one.status == "True"), None)
        return "" if said is None else f"{said.type}: {said.message or said.reason or 'True'}"


def _ref(scaling: Scaling) -> WorkloadRef:
    return WorkloadRef(
        api_version=scaling.api_version, kind=scaling.kind, name=scaling.name, namespace=scaling.namespace
    )


def _name(scaling: Scaling) -> str:
    return f"{scaling.namespace}/{scaling.name}".lstrip("/")
