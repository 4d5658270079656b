"""The chart as a Helm release on a local plane, whose runner starts the operator's pods as real processes."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from meltguard.localcluster.plane import Plane
from support.chart import CHART, NAMESPACE, RELEASE, helm_run
from support.plane import Kubectl

SETTLED = "150s"
"""How long a rollout may take."""


@dataclass(frozen=True, slots=True)
class HelmRelease:
    """Helm, one plane, one release name."""

    helm: Path
    plane: Plane
    kubectl: Kubectl

    def prepare(self) -> None:
        """Make the namespace, as strict as Pod Security gets."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})

    def install(self, *arguments: str) -> str:
        """Install and await readiness; what helm prints."""
        return self._change("install", *arguments)

    def upgrade(self, *arguments: str) -> str:
        """Upgrade and await readiness; what helm prints."""
        return self._change("upgrade", *arguments)

    def uninstall(self) -> str:
        """Uninstall, its Job included; what helm prints."""
        return self._run("uninstall", RELEASE, "--wait", "--timeout", "330s")

    def revision(self) -> int:
        """How often the release was installed or upgraded."""
        return int(json.loads(self._run("status", RELEASE, "-o", "json"))["version"])

    def signing_keys(self) -> dict[str, bytes]:
        """The entries of the signing Secret."""
        data = self.kubectl.read("secret", f"{RELEASE}-signing-keys", "-n", NAMESPACE)["data"]
        return {name: base64.b64decode(text) for name, text in data.items()}

    def _change(self, verb: str, *arguments: str) -> str:
        values = [
            "image.repository=meltguard",
            r"nodeSelector.meltguard\.io/local-runner=true",
            f"config.metricSources.default.url={self.plane.prometheus_url}",
            "nodeLabelKeys={workload}",
        ]
        flags = [part for value in values for part in ("--set-string" if "runner" in value else "--set", value)]
        return self._run(verb, RELEASE, str(CHART), *flags, "--wait", "--timeout", SETTLED, *arguments)

    def _run(self, *arguments: str) -> str:
        place = ["--namespace", NAMESPACE, "--kubeconfig", str(self.plane.kubeconfig)]
        return helm_run(self.helm, *arguments, *place, limit=400)
