"""Our custom resources on a real API server."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from meltguard.localcluster.plane import Plane
from support.objects import Object
from support.plane import Kubectl
from support.rest import Answer, Rest

CRDS: Final = Path(__file__).parents[2] / "crds"
GROUP: Final = "/apis/meltguard.io/v1alpha1"


@dataclass(frozen=True, slots=True)
class CustomResources:
    """The two kinds, as a user of an API server meets them."""

    rest: Rest

    def try_apply(self, body: Object) -> Answer:
        """Server-side apply without keeping anything."""
        return self.apply(body, dryRun="All", force="true")

    def apply(self, body: Object, manager: str = "tests", **options: str) -> Answer:
        """Server-side apply as one field manager."""
        query = urlencode({"fieldManager": manager, "fieldValidation": "Strict", **options})
        return self.rest.patch(f"{path_of(body)}?{query}", body, "apply")

    def write_status(self, body: Object, status: Mapping[str, Any]) -> Answer:
        """Write the status subresource, as the operator does."""
        return self.rest.patch(f"{path_of(body)}/status?fieldValidation=Strict", {"status": dict(status)}, "merge")

    def read(self, body: Object) -> Object:
        """The object as the server has it."""
        return self.rest.get(path_of(body)).must()


def installed(plane: Plane, kubectl: Kubectl) -> CustomResources:
    """Put both definitions on a plane, or renew them there."""
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    kubectl("wait", "--for=condition=Established", "-f", str(CRDS), "--timeout=60s")
    return CustomResources(Rest.of(plane.kubeconfig))


def path_of(body: Object) -> str:
    """Where an object lies."""
    name = body["metadata"]["name"]
    if body["kind"] == "GPUPool":
        return f"{GROUP}/gpupools/{name}"
    return f"{GROUP}/namespaces/{body['metadata']['namespace']}/imageservicepolicies/{name}"
