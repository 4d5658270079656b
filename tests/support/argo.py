"""What Argo Rollouts brings, as far as anybody here looks: its resource, and one Rollout. No controller of it runs."""

from typing import Any, Final

Json = dict[str, Any]
API: Final = "argoproj.io/v1alpha1"
CRD: Final = "rollouts.argoproj.io"


def rollouts_crd() -> Json:
    """What is wanted, its status, and its scale."""
    kept = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    version = {
        "name": "v1alpha1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}, "scale": scale},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": kept, "status": kept}}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": CRD},
        "spec": {
            "group": "argoproj.io",
            "scope": "Namespaced",
            "names": {"kind": "Rollout", "plural": "rollouts", "singular": "rollout"},
            "versions": [version],
        },
    }


def as_rollout(deployment: Json) -> Json:
    """The same service as a Rollout, with steps of its own."""
    canary = {"maxSurge": "25%", "steps": [{"setWeight": 20}, {"pause": {"duration": "10m"}}, {"setWeight": 50}]}
    spec = {**deployment["spec"], "strategy": {"canary": canary}, "revisionHistoryLimit": 3}
    return {**deployment, "apiVersion": API, "kind": "Rollout", "spec": spec}
