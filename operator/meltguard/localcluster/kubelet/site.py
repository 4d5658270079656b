"""What every pod of the local runner shares."""

from dataclasses import dataclass
from pathlib import Path

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.localcluster.addresses import AddressBlock
from meltguard.localcluster.kubeconfig import Endpoint
from meltguard.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The node's place in its plane."""

    api: KubernetesApi  # speaks as the node
    clock: Clock
    node: str
    node_ip: str
    directory: Path  # one directory per pod is made in it, and logs/
    block: AddressBlock
    endpoint: Endpoint

    @property
    def logs(self) -> Path:
        """Where the pods' output goes."""
        return self.directory / "logs"
