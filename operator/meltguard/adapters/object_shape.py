"""What nodes and pods have in common on the wire: who they are, their conditions, their GPUs."""

from collections.abc import Sequence
from typing import Final

import msgspec

from meltguard.core.units import Gpus

GPU_RESOURCES: Final = frozenset({"nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "gpu.intel.com/xe"})
"""Devices as the plugin hands them out. Intel's other resources (tiles, millicores) count parts of the same ones."""

GPU_SLICES: Final = ("nvidia.com/mig-", "nvidia.com/gpu.shared")
"""Parts of a device that pods are given like whole ones: MIG instances by profile, time-sliced replicas.

A sliced node shows no whole device that is free, so nothing is counted twice.
"""

Quantities = dict[str, str]


class Owner(msgspec.Struct, frozen=True, gc=False):
    """What an object belongs to."""

    kind: str
    name: str = ""
    uid: str = ""
    controller: bool = False


class Metadata(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Who an object is."""

    name: str
    uid: str
    namespace: str = ""
    resource_version: str = ""
    creation_timestamp: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    generation: int = 0
    deletion_timestamp: str | None = None
    owner_references: tuple[Owner, ...] | None = None


class Condition(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One of an object's conditions."""

    type: str
    status: str
    reason: str = ""
    last_transition_time: str | None = None


def holds(conditions: Sequence[Condition] | None, kind: str) -> bool:
    """Whether a condition of this type is True."""
    return any(condition.type == kind and condition.status == "True" for condition in conditions or ())


def gpus_in(quantities: Quantities | None) -> Gpus:
    """What a pod may have of a GPU each, among resource quantities.

    >>> gpus_in({"cpu": "64", "nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb": "7"})
    7
    """
    return Gpus(sum(_whole(count) for name, count in (quantities or {}).items() if _is_gpu(name)))


def gpus_by_kind(quantities: Quantities | None) -> dict[str, Gpus]:
    """How many of each resource that is a GPU, or a part of one; none that is zero.

    >>> gpus_by_kind({"cpu": "64", "nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb": "7"})
    {'nvidia.com/mig-1g.10gb': 7}
    """
    counts = {name: _whole(count) for name, count in (quantities or {}).items() if _is_gpu(name)}
    return {name: Gpus(count) for name, count in counts.items() if count > 0}


def _is_gpu(resource: str) -> bool:
    return resource in GPU_RESOURCES or resource.startswith(GPU_SLICES)


def _whole(quantity: str) -> int:
    """Devices are whole; Kubernetes writes a thousand of them as 1k.

    >>> _whole("8"), _whole("1k")
    (8, 1000)
    """
    thousands = quantity.removesuffix("k")
    if not thousands.isdecimal():
        return 0
    return int(thousands) * (1000 if thousands != quantity else 1)
