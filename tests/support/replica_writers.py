"""Who else may set the replicas of the service's Deployment: an HPA, KEDA, a GitOps tool."""

import json
from typing import Any, Final

from faults import world
from faults.rest import Admin, path_of
from meltguard.adapters.kubernetes_client import PatchKind

Json = dict[str, Any]
HPAS: Final = f"/apis/autoscaling/v2/namespaces/{world.SERVING}/horizontalpodautoscalers"
SCALED_OBJECTS: Final = f"/apis/keda.sh/v1alpha1/namespaces/{world.SERVING}/scaledobjects"
TARGET: Final = {"apiVersion": "apps/v1", "kind": "Deployment", "name": world.SERVICE}
GITOPS: Final = {"fieldManager": "argocd-controller", "force": "true"}

KEDA: Final = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "scaledobjects.keda.sh"},
    "spec": {
        "group": "keda.sh",
        "scope": "Namespaced",
        "names": {"kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


async def an_hpa(admin: Admin, name: str, least: int = 1, owners: tuple[Json, ...] = ()) -> None:
    """It aims at the Deployment; nobody serves its metric, so it only keeps its least."""
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
    body = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": world.SERVING, "ownerReferences": list(owners)},
        "spec": {"scaleTargetRef": TARGET, "minReplicas": least, "maxReplicas": 20, "metrics": [cpu]},
    }
    await admin.api.post(HPAS, json.dumps(body).encode())


async def no_hpa(admin: Admin, name: str) -> None:
    """It is gone."""
    await admin.delete(f"{HPAS}/{name}")


async def keda(admin: Admin, name: str) -> None:
    """What KEDA leaves in a cluster: the ScaledObject that people write, and the HPA that it makes of it."""
    await admin.api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json.dumps(KEDA).encode())
    await admin.kubectl("wait", "--for=condition=Established", "crd", "scaledobjects.keda.sh", "--timeout=60s")
    body = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name, "namespace": world.SERVING},
        "spec": {"scaleTargetRef": {"name": world.SERVICE}},
    }
    made = json.loads(await admin.api.post(SCALED_OBJECTS, json.dumps(body).encode()))
    owner = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": name, "uid": made["metadata"]["uid"]}
    await an_hpa(admin, f"keda-hpa-{name}", owners=({**owner, "controller": True, "blockOwnerDeletion": True},))


async def no_keda(admin: Admin, name: str) -> None:
    """As its finalizer does it: the HPA goes with the ScaledObject."""
    await no_hpa(admin, f"keda-hpa-{name}")
    await admin.delete(f"{SCALED_OBJECTS}/{name}")


async def from_git(admin: Admin, **spec: int) -> None:
    """A GitOps tool applies its own part of the Deployment; without `replicas` it leaves the number to others."""
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": world.SERVICE}, "spec": spec}
    await admin.api.patch(path_of(world.deployment()), json.dumps(body).encode(), PatchKind.APPLY, GITOPS)
