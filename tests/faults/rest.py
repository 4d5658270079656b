"""The administrator of a plane, asynchronously: what somebody else would do to the cluster."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind
from meltguard.errors import MeltguardError, Unavailable
from meltguard.localcluster.plane import Plane

PLACES = {
    "Namespace": ("/api/v1", "namespaces"),
    "Node": ("/api/v1", "nodes"),
    "Pod": ("/api/v1", "pods"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "DaemonSet": ("/apis/apps/v1", "daemonsets"),
    "Job": ("/apis/batch/v1", "jobs"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "GPUPool": ("/apis/meltguard.io/v1alpha1", "gpupools"),
    "CustomResourceDefinition": ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
    "Rollout": ("/apis/argoproj.io/v1alpha1", "rollouts"),
    "ImageServicePolicy": ("/apis/meltguard.io/v1alpha1", "imageservicepolicies"),
}


def path_of(made: Mapping[str, Any]) -> str:
    """Where an object lives."""
    root, plural = PLACES[made["kind"]]
    namespace = made["metadata"].get("namespace")
    space = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{space}/{plural}/{made['metadata']['name']}"


@dataclass(frozen=True, slots=True)
class Admin:
    """All rights, straight to the API server. Calls raise as KubernetesApi's do."""

    plane: Plane
    api: KubernetesApi

    @classmethod
    @asynccontextmanager
    async def of(cls, plane: Plane) -> AsyncIterator["Admin"]:
        """Connected, closed afterwards."""
        async with await KubernetesApi.connect(str(plane.kubeconfig)) as api:
            yield cls(plane, api)

    async def get(self, path: str) -> dict[str, Any] | None:
        """One object, or None."""
        body = await self.api.get(path)
        return None if body is None else json.loads(body)

    async def status(self, path: str) -> dict[str, Any]:
        """What stands in one object's status; {} where it has none, or is not there."""
        found: dict[str, Any] = (await self.get(path) or {}).get("status") or {}
        return found

    async def items(self, path: str) -> list[dict[str, Any]]:
        """A collection."""
        found: list[dict[str, Any]] = json.loads(await self.api.list_page(path))["items"]
        return found

    async def apply(self, made: Mapping[str, Any]) -> None:
        """Create it or make it so."""
        query = {"fieldManager": "faults", "force": "true"}
        await self.api.patch(path_of(made), json.dumps(made).encode(), PatchKind.APPLY, query)

    async def create(self, made: Mapping[str, Any]) -> None:
        """Create it."""
        await self.api.post(path_of(made).rpartition("/")[0], json.dumps(made).encode())

    async def merge(self, path: str, patch: Mapping[str, Any]) -> None:
        """Change it, whatever it is now."""
        await self.api.patch(path, json.dumps(patch).encode(), PatchKind.MERGE)

    async def patch(self, path: str, ops: list[dict[str, Any]]) -> None:
        """Change it by a JSON patch."""
        await self.api.patch(path, json.dumps(ops).encode())

    async def delete(self, path: str, *, grace: int | None = None) -> None:
        """Delete it; it may be gone."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace  # type: ignore[assignment] # JSON
        await self.api.delete(path, json.dumps(options).encode())

    async def kubectl(self, *arguments: str) -> str:
        """What kubectl prints. Raises Unavailable where it fails."""
        program = str(self.plane.binaries["kubectl"])
        process = await asyncio.create_subprocess_exec(
            *(program, f"--kubeconfig={self.plane.kubeconfig}", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        if process.returncode != 0:
            raise Unavailable(f"kubectl {' '.join(arguments)}: {err.decode().strip()}")
        return out.decode()


__all__ = ["Admin", "MeltguardError", "path_of"]
