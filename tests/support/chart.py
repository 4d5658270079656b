"""The chart, rendered by the real helm."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from meltguard.localcluster.binaries import binary
from meltguard.localcluster.plane import Plane, running_plane
from meltguard.localcluster.progress import progress_on
from support.rest import Rest

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "meltguard"
NAMESPACE = "meltguard-system"
RELEASE = "meltguard"
Manifest = dict[str, Any]


@pytest.fixture(scope="session")
def helm() -> Path:
    """The real helm; building it the first time is shown even while pytest captures output."""
    return binary("helm", progress_on(sys.__stderr__))


@pytest.fixture(scope="module")
def lone_plane() -> Iterator[Plane]:
    """A plane of the module's own: admission policies concern everybody on the same one."""
    with running_plane(progress=progress_on(sys.__stderr__)) as running:
        yield running


class ChartRefused(Exception):
    """Helm would not render it; the text is helm's."""


def helm_run(helm: Path, *arguments: str, limit: float = 120) -> str:
    """Run helm, for at most so many seconds; its standard output."""
    done = subprocess.run([helm, *arguments], capture_output=True, text=True, check=False, timeout=limit)
    if done.returncode != 0:
        raise ChartRefused(done.stderr)
    return done.stdout


def rendered(helm: Path, *arguments: str) -> list[Manifest]:
    """Every object that the chart makes; `arguments` such as `--set replicas=1`."""
    text = helm_run(helm, "template", RELEASE, str(CHART), "--namespace", NAMESPACE, *arguments)
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(documents: list[Manifest], kind: str) -> list[Manifest]:
    return [document for document in documents if document["kind"] == kind]


def the(documents: list[Manifest], kind: str, name: str = RELEASE) -> Manifest:
    """The one object of that kind and name."""
    found = [document for document in of_kind(documents, kind) if document["metadata"]["name"] == name]
    names = sorted(document["metadata"]["name"] for document in of_kind(documents, kind))
    assert len(found) == 1, f"{len(found)} of {kind}/{name} among {names}"
    return found[0]


def pods_of(documents: list[Manifest]) -> list[Manifest]:
    """The pod templates of the operator and of the uninstall Job."""
    owners = [the(documents, "Deployment"), the(documents, "Job", f"{RELEASE}-release")]
    return [owner["spec"]["template"] for owner in owners]


PLURALS = {
    "Namespace": "namespaces",
    "CustomResourceDefinition": "customresourcedefinitions",
    "ServiceAccount": "serviceaccounts",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}


def path_of(manifest: Manifest) -> str:
    """Where the API server keeps this object."""
    version, metadata = manifest["apiVersion"], manifest["metadata"]
    base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    space = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{base}{space}/{PLURALS[manifest['kind']]}/{metadata['name']}"


def apply(api: Rest, manifest: Manifest) -> None:
    """Create it or make it so."""
    api.patch(f"{path_of(manifest)}?fieldManager=tests&force=true", manifest, kind="apply").must()
