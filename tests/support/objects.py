"""Custom resources as people write them."""

import copy
from collections.abc import Mapping
from typing import Any, Final

Object = dict[str, Any]

REMOVED: Final = object()
"""In `edited`: take this key away."""


def a_policy_object(name: str = "image-gen", namespace: str = "serving", **changes: Any) -> Object:
    """A sound ImageServicePolicy that uses every part; `changes` replace parts of its spec."""
    spec: Object = {
        "mode": "Enforce",
        "service": {
            "selector": {"matchLabels": {"app": "image-gen"}},
            "agentPort": 9901,
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "image-gen"},
            "gpusPerPod": 1,
        },
        "metrics": {
            "source": "default",
            "staleAfter": "60s",
            "signals": [
                {"name": "wait", "preset": "agent-wait", "calm": "1s", "target": "4s", "critical": "12s"},
                {"name": "temperature", "preset": "gpu-temperature", "calm": "70", "target": "80", "critical": "88"},
                {"name": "utilization", "preset": "gpu-utilization", "use": "Confirm"},
            ],
        },
        "levels": {"dwell": "60s"},
        "capacity": {
            "pool": "inference",
            "borrowFrom": ["research", "burst"],
            "maxLoans": 4,
            "borrowAtPressure": "0.9",
            "returnAfter": "10m",
        },
        "tiers": _tiers(),
        "features": [
            {
                "name": "image-edit",
                "rollout": {"Normal": "100%", "Elevated": "50%", "Overloaded": "5%", "Critical": "0%"},
            }
        ],
        "rollouts": {"holdAt": "Overloaded"},
        "overrides": [
            {"tier": "free", "state": "Suspend", "until": "2026-12-01T18:00:00Z", "reason": "launch day", "by": "ada"}
        ],
    }
    return _object("ImageServicePolicy", {"name": name, "namespace": namespace}, {**spec, **changes})


def _tiers() -> list[Object]:
    return [
        {
            "name": "free",
            "priority": 0,
            "floor": "2%",
            "max": "40/m",
            "quota": {"images": 3, "per": "day", "timeZone": "UTC"},
            "maxWait": "30s",
            "shedStatus": 503,
            "message": "Free images pause while demand is high.",
            "onLevel": {"Elevated": "Delay", "Overloaded": "Reject", "Critical": "Suspend"},
        },
        {
            "name": "plus",
            "priority": 10,
            "weight": 3,
            "max": "200/m",
            "maxWait": "60s",
            "onLevel": {"Overloaded": "Delay"},
        },
        {"name": "pro", "priority": 20, "max": "100/m", "maxWait": "60s"},
    ]


def a_pool_object(name: str = "research", **changes: Any) -> Object:
    """A sound GPUPool that uses every part; `changes` replace parts of its spec."""
    spec: Object = {
        "nodes": {
            "labels": {"workload": "research"},
            "taints": [{"key": "workload", "value": "research", "effect": "NoSchedule"}],
        },
        "provider": {"name": "onprem", "costPerGPUHour": "1.80"},
        "lending": {
            "floor": 4,
            "maxLoans": 4,
            "maxLoanDuration": "24h",
            "borrowers": {"namespaceSelector": {"matchLabels": {"team": "serving"}}},
            "eviction": {"notice": "2m", "minimumRuntime": "30m", "deadline": "10m", "onDeadline": "GiveUp"},
            "windows": [
                {"action": "Deny", "schedule": "0 22 * * 5", "duration": "10h", "timeZone": "Europe/Zurich"},
            ],
        },
        "scaleRef": {
            "apiVersion": "cluster.x-k8s.io/v1beta2",
            "kind": "MachineDeployment",
            "name": "burst",
            "namespace": "machines",
            "min": 0,
            "max": 8,
            "gpusPerNode": 8,
            "spend": {"perDay": "400", "perMonth": "4000", "timeZone": "Europe/Zurich"},
        },
        "kueue": {"clusterQueue": "research", "flavor": "h100", "resource": "nvidia.com/gpu"},
    }
    return _object("GPUPool", {"name": name}, {**spec, **changes})


def edited(body: Mapping[str, Any], edits: Mapping[str, Any]) -> Object:
    """A copy with some values set, by path: `{"spec.tiers.0.floor": "60%", "spec.levels": REMOVED}`."""
    changed = copy.deepcopy(dict(body))
    for path, value in edits.items():
        *way, last = path.split(".")
        place: Any = changed
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        if isinstance(place, list):
            place[int(last) : int(last) + 1] = [] if value is REMOVED else [value]
        elif value is REMOVED:
            del place[last]
        else:
            place[last] = value
    return changed


def _object(kind: str, metadata: Object, spec: Object) -> Object:
    return {"apiVersion": "meltguard.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
