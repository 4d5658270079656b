"""What every pod of the local runner shares."""

from dataclasses import dataclass, field
from pathlib import Path

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.localcluster.addresses import AddressBlock
from meltguard.localcluster.certificates import KeyPair
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
    serving: KeyPair  # what the API server is shown when it asks for a pod's output
    written: set[Path] = field(default_factory=set)  # logs of the processes that run now

    @property
    def logs(self) -> Path:
        """Where the pods' output goes."""
        return self.directory / "logs"

    def log_of(self, namespace: str, name: str) -> Path:
        """One pod's output; a pod that takes over the name takes over the file."""
        return self.logs / f"{namespace}_{name}.log"
