"""Everything a pod needs before its process can start: token, variables, volumes."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from meltguard.core.units import Seconds
from meltguard.localcluster.cache import private_directory
from meltguard.localcluster.kubeconfig import with_token
from meltguard.localcluster.kubelet.environment import Surroundings, command_of, environment_of
from meltguard.localcluster.kubelet.objects import Objects
from meltguard.localcluster.kubelet.process import Run
from meltguard.localcluster.kubelet.shapes import Pod, wants_api_access
from meltguard.localcluster.kubelet.site import Site
from meltguard.localcluster.kubelet.volumes import places_of, write_volumes

TOKEN_LIFE: Final = Seconds(4 * 3600.0)


@dataclass(frozen=True, slots=True)
class Preparation:
    """Prepares one pod."""

    site: Site
    pod: Pod
    ip: str

    @property
    def home(self) -> Path:
        """The pod's own directory."""
        return self.site.directory / self.pod.metadata.uid

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.site.log_of(self.pod.metadata.namespace, self.pod.metadata.name)

    async def run(self) -> Run:
        """Write what is needed, return what to run.

        Raises:
            NotNow: something that the pod refers to is missing.
            Unavailable, InvalidInput: the API server does not answer, or refuses.
        """
        objects = Objects(self.site.api)
        config_maps, secrets = await objects.config_maps(self.pod), await objects.secrets(self.pod)
        volumes = private_directory(self.home / "volumes")
        write_volumes(self.pod, volumes, config_maps, secrets)
        around = Surroundings(
            ip=self.ip,
            node=self.site.node,
            config_maps=config_maps,
            secrets=secrets,
            places=places_of(self.pod, volumes),
        )
        variables = environment_of(self.pod, around)
        environment = {**self._base(), **variables}
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
        if wants_api_access(self.pod):
            environment["KUBECONFIG"] = str(await self._kubeconfig())
        return Run(
            command=command_of(self.pod.spec.containers[0], variables, around),
            environment=environment,
            directory=self.home,
            log=self.log,
        )

    async def refresh(self) -> None:
        """Bring mounted ConfigMaps and Secrets up to date; raises as `run` does."""
        objects = Objects(self.site.api)
        config_maps, secrets = await objects.config_maps(self.pod), await objects.secrets(self.pod)
        write_volumes(self.pod, self.home / "volumes", config_maps, secrets)

    def has_files(self) -> bool:
        """Whether it mounts anything that may change."""
        return any(volume.config_map or volume.secret for volume in self.pod.spec.volumes)

    def _base(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "HOSTNAME": self.pod.metadata.name,
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",  # what it prints is in the log at once
        }

    async def _kubeconfig(self) -> Path:
        """With a token of the pod's ServiceAccount, which ends with the pod."""
        meta = self.pod.metadata
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta.name, "uid": meta.uid}
        request: dict[str, Any] = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": int(TOKEN_LIFE), "boundObjectRef": bound},
        }
        account = f"/api/v1/namespaces/{meta.namespace}/serviceaccounts/{self.pod.spec.service_account_name}"
        made = msgspec.json.decode(await self.site.api.post(f"{account}/token", json.dumps(request).encode()))
        token: str = made["status"]["token"]
        return with_token(self.home / "kubeconfig", self.site.endpoint, token, meta.namespace)
