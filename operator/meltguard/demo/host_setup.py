"""What the serving hosts are started with: one file for all nodes of a run."""

from pathlib import Path
from typing import Final

import msgspec

from meltguard.demo.gpu import Flaw

AGENT_PORT: Final = 9901
DATA_PORT: Final = 8080
DCGM_PORT: Final = 9400
KEYS_CONFIG_MAP: Final = "meltguard-agent-keys"
KEYS_ENTRY: Final = "keys"
BASELINE_ENTRY: Final = "baseline.json"
DRAINED_ANNOTATION: Final = "local.meltguard.io/drained"
"""Tells kwok that a pod that is being deleted has finished what it had to finish."""


class HostNode(msgspec.Struct, frozen=True):
    """One node that is played."""

    name: str
    gpus: int
    dcgm: str  # address of its exporter
    flaws: dict[int, Flaw] = {}  # of its GPUs, by index


class HostSetup(msgspec.Struct, frozen=True, rename="camel"):
    """The run, as hosts need to know it."""

    nodes: tuple[HostNode, ...]
    kubeconfig: str
    namespace: str  # of the service
    policy: str
    app: str  # value of the label `app` that its pods bear
    operator_namespace: str  # where the agents' keys are
    valkey_url: str
    directory: str  # for journals, baseline files and agents' states
    speed: float
    seed: int
    wait_target: float  # seconds, on this machine's clock
    traces: str | None

    @property
    def baseline_config_map(self) -> str:
        """Where the operator keeps the baseline document."""
        return f"{self.policy}-meltguard-baseline"

    def journals(self, node: str) -> Path:
        """The folder of one node's request journals."""
        return Path(self.directory) / "journals" / node


def read_setup(path: Path) -> HostSetup:
    """The setup in a file; msgspec's errors where it is none."""
    return msgspec.json.decode(path.read_bytes(), type=HostSetup)
