"""One local plane for the whole test session; tests share it, each in a namespace of its own."""

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from meltguard.localcluster.plane import Plane, running_plane
from meltguard.localcluster.progress import progress_on


@dataclass(frozen=True, slots=True)
class Kubectl:
    """The real kubectl, as the administrator of a plane."""

    plane: Plane

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Run it; what it prints. Fails the test, with what it complained about, where it fails."""
        ran = self.run(*arguments, stdin=stdin)
        assert ran.returncode == 0, f"kubectl {' '.join(arguments)}: {ran.stderr}"
        return ran.stdout

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run it; however it ends."""
        command = [str(self.plane.binaries["kubectl"]), f"--kubeconfig={self.plane.kubeconfig}", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)

    def read(self, *arguments: str) -> Any:
        """`kubectl get ARGUMENTS -o json`, decoded."""
        return json.loads(self("get", *arguments, "-o", "json"))

    def apply(self, *objects: dict[str, Any]) -> None:
        """Create or change objects."""
        self("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


@pytest.fixture(scope="session")
def plane() -> Iterator[Plane]:
    """The session's plane; building its programs the first time is shown even while pytest captures output."""
    with running_plane(progress=progress_on(sys.__stderr__)) as running:
        yield running


@pytest.fixture(scope="session")
def kubectl(plane: Plane) -> Kubectl:
    """Kubectl on the session's plane."""
    return Kubectl(plane)


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace of the test's own, gone afterwards."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    _await_account(kubectl, name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def fake_node(kubectl: Kubectl) -> Iterator[Callable[..., str]]:
    """Makes fake nodes: `fake_node("n1", labels={...})`; they are gone after the test.

    Tainted, so that nobody else's pods land there: bind pods by nodeName, or tolerate `test:NoSchedule`.
    """
    made: list[str] = []

    def make(name: str, labels: dict[str, str] | None = None) -> str:
        annotations = {"kwok.x-k8s.io/node": "fake"}
        metadata = {"name": name, "labels": labels or {}, "annotations": annotations}
        spec = {"taints": [{"key": "test", "effect": "NoSchedule"}]}
        kubectl.apply({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec})
        made.append(name)
        kubectl("wait", f"node/{name}", "--for=condition=Ready", "--timeout=60s")
        return name

    yield make
    if made:
        kubectl("delete", "node", *made)


def _await_account(kubectl: Kubectl, namespace: str) -> None:
    """Pods are refused until the namespace has its ServiceAccount."""
    kubectl("wait", "serviceaccount/default", "-n", namespace, "--for=create", "--timeout=60s")
