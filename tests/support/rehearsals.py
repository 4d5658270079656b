"""A small rehearsal: a service of eight GPUs, three nodes that lend, a surge of some minutes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from meltguard.core.units import Instant, Seconds, TierName
from meltguard.rehearse.fleet_plan import FleetPlan
from meltguard.rehearse.manifests import Manifests, read_manifests
from meltguard.rehearse.rehearsal import Plan, Rehearsal, merged, rehearse
from meltguard.rehearse.surge import Surge

DAWN = Instant(1_772_442_000.0)  # 2026-03-02T09:00:00Z, a Monday

INFERENCE: Mapping[str, Any] = {
    "apiVersion": "meltguard.io/v1alpha1",
    "kind": "GPUPool",
    "metadata": {"name": "inference"},
    "spec": {"nodes": {"labels": {"pool": "inference"}}},
}
RESEARCH: Mapping[str, Any] = {
    "apiVersion": "meltguard.io/v1alpha1",
    "kind": "GPUPool",
    "metadata": {"name": "research"},
    "spec": {
        "nodes": {
            "labels": {"pool": "research"},
            "taints": [{"key": "pool", "value": "research", "effect": "NoSchedule"}],
        },
        "lending": {
            "floor": 1,
            "maxLoans": 2,
            "maxLoanDuration": "24h",
            "borrowers": {"namespaceSelector": {"matchLabels": {"team": "serving"}}},
            "eviction": {"notice": "30s", "minimumRuntime": "10m", "deadline": "5m", "onDeadline": "GiveUp"},
        },
    },
}
POLICY: Mapping[str, Any] = {
    "apiVersion": "meltguard.io/v1alpha1",
    "kind": "ImageServicePolicy",
    "metadata": {"name": "image-gen", "namespace": "serving"},
    "spec": {
        "mode": "Enforce",
        "service": {
            "selector": {"matchLabels": {"app": "image-gen"}},
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "image-gen"},
        },
        "metrics": {
            "signals": [
                {"name": "wait", "preset": "agent-wait", "calm": "1s", "target": "4s", "critical": "12s"},
                {"name": "utilization", "preset": "gpu-utilization", "use": "Confirm"},
            ]
        },
        "capacity": {"pool": "inference", "borrowFrom": ["research"], "maxLoans": 2, "returnAfter": "60s"},
        "tiers": [
            {"name": "free", "floor": "2%", "maxWait": "20s", "onLevel": {"Elevated": "Delay", "Overloaded": "Reject"}},
            {"name": "pro", "priority": 10, "maxWait": "60s"},
        ],
    },
}
NAMESPACE: Mapping[str, Any] = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "serving", "labels": {"team": "serving"}},
}
FLEET: Mapping[str, Any] = {
    "service": {"secondsPerImage": "6s", "modelLoad": "30s"},
    "pools": {
        "inference": {"nodes": 1},
        "research": {
            "nodes": 3,
            "work": [{"name": "train", "nodes": 2, "checkpointEvery": "20m", "savesWithin": "10s"}],
        },
    },
}


def written(folder: Path, *bodies: Mapping[str, Any], name: str = "all.yaml") -> Path:
    """The bodies as one file."""
    path = folder / name
    path.write_text(yaml.safe_dump_all([dict(body) for body in bodies]))
    return path


def some_manifests(
    folder: Path, policy: Mapping[str, Any] = POLICY, research: Mapping[str, Any] = RESEARCH
) -> Manifests:
    """The small policy with its pools."""
    return read_manifests([written(folder, policy, INFERENCE, research, NAMESPACE)])


def a_fleet(body: Mapping[str, Any] = FLEET) -> FleetPlan:
    """The small fleet."""
    return FleetPlan.model_validate(body)


def a_surge(until: float = 1200.0, peak: float = 3.0, ends: float = 300.0) -> Surge:
    """Half a request a second, `peak` times what eight GPUs do from the first minute on, then as before."""
    most = peak * 8 / 6.0
    rates = {TierName("free"): (0.4, 0.9 * most, 0.4), TierName("pro"): (0.1, 0.1 * most, 0.1)}
    times = (Seconds(0.0), Seconds(60.0), Seconds(ends))
    return Surge(source="made up", times=times, rates=rates, until=Seconds(until), dawn=DAWN)


def a_plan(manifests: Manifests, **changes: Any) -> Plan:
    """The small rehearsal."""
    fleet = changes.pop("fleet", a_fleet())
    given: dict[str, Any] = {"surge": a_surge(), "seed": 1, "gpus_a_pod": merged(manifests, fleet), **changes}
    return Plan(manifests=manifests, fleet=fleet, **given)


def run(plan: Plan) -> Rehearsal:
    """It, without progress."""
    return rehearse(plan, lambda _: None)
