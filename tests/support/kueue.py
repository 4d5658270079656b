"""Kueue's ClusterQueue, as far as its quota goes: the kind, and objects of it."""

import copy
from typing import Any

Object = dict[str, Any]
GROUP = "kueue.x-k8s.io"
QUEUES = f"/apis/{GROUP}/v1beta2/clusterqueues"
MARK = "meltguard.io/lent-quota"
FLAVOR, GPU = "h100", "nvidia.com/gpu"

_OPEN: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def crd() -> Object:
    """Both versions are served, as Kueue serves them; the API server prefers the later one."""
    names = {"kind": "ClusterQueue", "plural": "clusterqueues", "singular": "clusterqueue"}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": _OPEN, "status": _OPEN}}}
    version = {"served": True, "subresources": {"status": {}}, "schema": schema}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"clusterqueues.{GROUP}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, of a test"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": names,
            "versions": [
                {"name": "v1beta1", "storage": False, **version},
                {"name": "v1beta2", "storage": True, **version},
            ],
        },
    }


def a_queue(name: str, nominal: object = 24, **metadata: Any) -> Object:
    """Two groups, and two flavors in that of the GPUs; only one number of it is meant."""
    gpus = [{"name": "cpu", "nominalQuota": "500m"}, {"name": GPU, "nominalQuota": nominal}]
    return copy.deepcopy(
        {
            "apiVersion": f"{GROUP}/v1beta2",
            "kind": "ClusterQueue",
            "metadata": {"name": name, **metadata},
            "spec": {
                "cohortName": "all",
                "resourceGroups": [
                    {"coveredResources": ["pods"], "flavors": [{"name": "any", "resources": [_pods()]}]},
                    {
                        "coveredResources": ["cpu", GPU],
                        "flavors": [
                            {"name": "a100", "resources": [{"name": GPU, "nominalQuota": 7}]},
                            {"name": FLAVOR, "resources": gpus},
                        ],
                    },
                ],
            },
        }
    )


def _pods() -> Object:
    return {"name": "pods", "nominalQuota": 100}


def nominal_of(queue: Object) -> object:
    """The number that is meant."""
    return queue["spec"]["resourceGroups"][1]["flavors"][1]["resources"][1]["nominalQuota"]


NOMINAL_PATH = "/spec/resourceGroups/1/flavors/1/resources/1/nominalQuota"
