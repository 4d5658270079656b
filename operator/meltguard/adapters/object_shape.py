"""What nodes and pods have in common on the wire: who they are, their conditions, their GPUs."""

from collections.abc import Sequence
from typing import Final

import msgspec

from meltguard.core.units import Gpus

GPU_RESOURCES: Final = frozenset({"nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "gpu.intel.com/xe"})
"""Whole devices. Intel's other resources (tiles, millicores, monitoring) count parts of the same ones."""

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
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
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
    """Whole GPUs among resource quantities."""
    if not quantities:
        return Gpus(0)
    return Gpus(sum(_whole(quantities[name]) for name in GPU_RESOURCES & quantities.keys()))


def _whole(quantity: str) -> int:
    """Devices are whole; Kubernetes writes a thousand of them as 1k.

    >>> _whole("8"), _whole("1k")
    (8, 1000)
    """
    thousands = quantity.removesuffix("k")
    if not thousands.isdecimal():
        return 0
    return int(thousands) * (1000 if thousands != quantity else 1)
