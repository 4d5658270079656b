"""A small API server with candidates for one Lease."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_lease import LeaseElection, LeaseTiming
from meltguard.clock import SystemClock
from support.fake_apiserver import FakeApiServer, serving, write_kubeconfig
from support.lease_holder import BRISK, NAME


@dataclass
class Ground:
    """A server with candidates for one Lease."""

    server: FakeApiServer
    api: KubernetesApi
    kubeconfig: Path

    def candidate(self, seat: str = "", timing: LeaseTiming = BRISK) -> LeaseElection:
        """One more process, as it were."""
        return LeaseElection(self.api, NAME, SystemClock(), timing, seat=seat)

    def spec(self) -> dict[str, Any]:
        """The Lease as it stands."""
        return dict(self.server.objects["/apis/coordination.k8s.io/v1", "leases", "meltguard", "meltguard"]["spec"])

    def write(self, **spec: Any) -> None:
        """Write the Lease as somebody else would."""
        self.server.put(NAME.path, {"spec": spec})


@asynccontextmanager
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    """The server runs until the block ends."""
    server = FakeApiServer()
    async with serving(server.handle) as url:
        kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", url)
        async with await KubernetesApi.connect(str(kubeconfig)) as api:
            yield Ground(server, api, kubeconfig)
