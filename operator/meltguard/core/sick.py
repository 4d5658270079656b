"""Nodes with a GPU that its driver gave up: not lent, and not counted for the floor of what is lent next.

A metric alone moves nothing: no node is called home, and none borrowed instead, for what an exporter says.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from meltguard.core.fleet import NodeView
from meltguard.core.metrics import MetricSample
from meltguard.core.units import NodeName, Seconds

BROKEN: Final[Mapping[int, str]] = {
    48: "double bit ECC error",
    62: "micro-controller halt",
    64: "row remapping failure",
    74: "NVLink error",
    79: "fallen off the bus",
    92: "high rate of single bit ECC errors",
    95: "uncontained ECC error",
    119: "GSP time-out",
    120: "GSP error",
}
"""NVIDIA's Xid errors after which a GPU needs a reset, a reboot or a technician. Others are mostly an application's."""


def sick_nodes(samples: Iterable[MetricSample], stale_after: Seconds) -> Mapping[NodeName, str]:
    """Why a node is sick, as the end of a sentence that begins with it. Who has no fresh sample is not known to be.

    >>> found = [MetricSample(node=NodeName("gpu-7"), value=79.0, age=Seconds(12.0))]
    >>> sick_nodes(found, Seconds(60.0))
    {'gpu-7': 'has a sick GPU (Xid 79: fallen off the bus)'}
    """
    return {
        sample.node: f"has a sick GPU (Xid {sample.value:.0f}: {BROKEN[int(sample.value)]})"
        for sample in samples
        if sample.node is not None and sample.age <= stale_after and int(sample.value) in BROKEN
    }


def with_health(nodes: Sequence[NodeView], sick: Mapping[NodeName, str]) -> tuple[NodeView, ...]:
    """The nodes, each with what ails it."""
    if not sick:
        return tuple(nodes)
    return tuple(replace(node, sick=sick[node.name]) if node.name in sick else node for node in nodes)
