"""Other writers of a workload's replicas, as the real API server shows them."""

import json
import uuid

import pytest

from meltguard.adapters.kubernetes_autoscalers import KubernetesAutoscalers
from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.scale_shape import WorkloadRef
from meltguard.clock import SystemClock
from meltguard.localcluster.plane import Plane
from support.plane import Kubectl

pytestmark = pytest.mark.plane

LABELS = {"app": "image-gen"}


def a_deployment(name: str, **spec: object) -> dict[str, object]:
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "c"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": LABELS}, "template": template, **spec},
    }


def an_hpa(name: str, target: str) -> dict[str, object]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
        },
    }


def applied(kubectl: Kubectl, manager: str, body: dict[str, object]) -> None:
    """By server-side apply, as a GitOps tool does."""
    kubectl("apply", "--server-side", f"--field-manager={manager}", "-f", "-", stdin=json.dumps(body))


async def asked(plane: Plane, name: str, kind: str = "Deployment") -> str:
    async with await KubernetesApi.connect(str(plane.kubeconfig)) as api:
        return await KubernetesAutoscalers(api, SystemClock()).of(
            WorkloadRef(api_version="apps/v1", kind=kind, name=name, namespace="default")
        )


async def test_each_writer_is_named_and_a_person_is_none(plane: Plane) -> None:
    kubectl, mark = Kubectl(plane), uuid.uuid4().hex[:6]
    by_hand, scaled, from_git = (f"{kind}-{mark}" for kind in ("by-hand", "scaled", "from-git"))
    kubectl.apply(a_deployment(by_hand, replicas=2), a_deployment(scaled), an_hpa(f"cpu-{mark}", scaled))
    applied(kubectl, "argocd-controller", a_deployment(from_git, replicas=2))
    assert await asked(plane, by_hand) == ""
    assert await asked(plane, scaled) == f"HorizontalPodAutoscaler cpu-{mark}"
    assert await asked(plane, from_git) == "argocd-controller, which applies spec.replicas"
    assert await asked(plane, f"gone-{mark}") == ""
    applied(kubectl, "kustomize-controller", a_deployment(f"free-{mark}"))
    assert await asked(plane, f"free-{mark}") == "", "a tool that leaves the number out does not fight for it"
