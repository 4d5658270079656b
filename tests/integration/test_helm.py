"""The chart's life on a real control plane: installed, upgraded, refused, uninstalled, installed again."""

import base64
from pathlib import Path

import pytest

from meltguard.api.signed import SigningKey
from meltguard.localcluster.plane import Plane
from support.admission import set_label, under, until
from support.chart import NAMESPACE, RELEASE, ROOT, ChartRefused
from support.plane import Kubectl
from support.release import HelmRelease
from support.rest import Rest

pytestmark = pytest.mark.plane

OPERATOR = f"deployment/{RELEASE}"
NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {
        "name": "gpu-1",
        "labels": {"workload": "research", "meltguard.io/managed": "true"},
        "annotations": {"kwok.x-k8s.io/node": "fake"},
    },
}
POLICY = {
    "apiVersion": "meltguard.io/v1alpha1",
    "kind": "ImageServicePolicy",
    "metadata": {"name": "p", "namespace": "default"},
    "spec": {
        "mode": "Shadow",
        "service": {"selector": {"matchLabels": {"app": "x"}}},
        "tiers": [{"name": "free", "max": "40/m"}],
    },
}


@pytest.fixture(scope="module")
def release(lone_plane: Plane, helm: Path) -> HelmRelease:
    """The chart, installed and ready."""
    made = HelmRelease(helm, lone_plane, Kubectl(lone_plane))
    made.prepare()
    made.install()
    return made


def epoch(release: HelmRelease) -> int:
    """Of the Lease that the operator holds."""
    return int(release.kubectl.read("lease", RELEASE, "-n", NAMESPACE)["spec"]["leaseTransitions"])


def assert_fenced(release: HelmRelease, node: str) -> None:
    """The API server lets the operator's identity write under the Lease's epoch and under no other."""
    admin = Rest.of(release.plane.kubeconfig)
    operator = admin.as_service_account(NAMESPACE, RELEASE)
    path = f"/api/v1/nodes/{node}?dryRun=All"
    current = epoch(release)
    until(lambda: operator.patch(path, under(current, set_label("workload", "x"))).ok)
    for other in (current - 1, current + 1):
        answer = operator.patch(path, under(other, set_label("workload", "x")))
        assert "meltguard-fence: " in answer.message


def test_two_operators_are_ready_in_a_restricted_namespace(release: HelmRelease) -> None:
    deployment = release.kubectl.read(OPERATOR, "-n", NAMESPACE)
    assert deployment["status"]["readyReplicas"] == 2
    namespace = release.kubectl.read("namespace", NAMESPACE)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_operator_publishes_the_keys_that_the_chart_made(release: HelmRelease) -> None:
    keys = release.signing_keys()
    expected = SigningKey("k1", base64.b64decode(keys["k1"])).public_text()
    published = release.kubectl.read("configmap", f"{RELEASE}-agent-keys", "-n", NAMESPACE)
    assert published["data"]["keys"].split() == [expected]


def test_the_fence_holds(release: HelmRelease) -> None:
    release.kubectl.apply(NODE)
    assert_fenced(release, "gpu-1")


def test_the_examples_and_the_plain_manifests_are_accepted(release: HelmRelease) -> None:
    examples = sorted((ROOT / "deploy" / "examples").glob("*.yaml"), key=lambda path: path.name != "service.yaml")
    for example in examples:
        release.kubectl("apply", "-f", str(example))
    for example in reversed(examples):
        release.kubectl("delete", "-f", str(example), "--timeout=60s")
    plain = str(ROOT / "deploy" / "operator.yaml")
    release.kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", plain)


def test_an_upgrade_keeps_the_key_and_rolls_the_pods(release: HelmRelease) -> None:
    before, template = release.signing_keys(), release.kubectl.read(OPERATOR, "-n", NAMESPACE)["spec"]["template"]
    release.upgrade("--set", "config.logLevel=DEBUG", "--set", "signingKeys.ids={k1,k2}")
    after = release.signing_keys()
    assert after.keys() == {"active", "k1", "k2"}
    assert after["k1"] == before["k1"] != after["k2"]
    deployment = release.kubectl.read(OPERATOR, "-n", NAMESPACE)
    assert deployment["spec"]["template"] != template
    assert deployment["status"]["updatedReplicas"] == deployment["status"]["readyReplicas"] == 2


def test_a_typo_is_refused_and_changes_nothing(release: HelmRelease) -> None:
    revision = release.revision()
    with pytest.raises(ChartRefused, match="additional properties 'replica' not allowed"):
        release.upgrade("--set", "replica=1")
    assert release.revision() == revision


def labelled(release: HelmRelease) -> str:
    """Whatever of the release is still there, by name."""
    kinds = "all,sa,cm,role,rolebinding,clusterrole,clusterrolebinding"
    found = release.kubectl("get", kinds, "-A", "-o", "name", "-l", f"app.kubernetes.io/instance={RELEASE}")
    return found.strip()


def test_uninstalled_and_installed_again(release: HelmRelease) -> None:
    """Nothing holds a policy or a node back, what is kept fits, and the fence still reads the Lease."""
    keys = release.signing_keys()
    release.kubectl.apply(NODE, POLICY)
    release.uninstall()
    assert not release.kubectl.read("imageservicepolicy", "p", "-n", "default")["metadata"].get("finalizers")
    assert "meltguard.io/loan" not in release.kubectl.read("node", "gpu-1")["metadata"].get("annotations", {})
    until(lambda: not labelled(release))  # helm waits for what it made, not for the pods those made
    release.install()
    assert release.signing_keys()["k1"] == keys["k1"]
    assert_fenced(release, "gpu-1")
