"""What the chart renders, by the real helm, before any cluster sees it."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from meltguard.api.signed import SigningKey
from meltguard.cli.render import generated
from meltguard.controller.settings import ConfigFile
from meltguard.monitoring.alerts import rules_yaml
from meltguard.monitoring.dashboard import dashboard_json
from support.chart import (
    CHART,
    NAMESPACE,
    RELEASE,
    ROOT,
    ChartRefused,
    Manifest,
    helm_run,
    of_kind,
    pods_of,
    rendered,
    the,
)

pytestmark = pytest.mark.plane  # helm is one of the programs that are built into the cache


@pytest.fixture(scope="module")
def chart(helm: Path) -> list[Manifest]:
    """Every object under default values."""
    return rendered(helm)


def test_helm_finds_nothing_wrong(helm: Path) -> None:
    assert "0 chart(s) failed" in helm_run(helm, "lint", "--strict", str(CHART))


def test_what_is_generated_from_the_chart_is_fresh(helm: Path) -> None:
    stale = [str(path) for path, text in generated(ROOT, helm).items() if path.read_text() != text]
    assert not stale, f"run `make generate`: {stale}"


def test_the_crds_are_the_canonical_ones(chart: list[Manifest]) -> None:
    found = {document["metadata"]["name"]: document["spec"] for document in of_kind(chart, "CustomResourceDefinition")}
    canonical = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert found == {crd["metadata"]["name"]: crd["spec"] for crd in canonical}
    assert len(found) == 2


REFUSED = {
    "a typo at the top": ("replica=3", "'replica' not allowed"),
    "a typo below": ("image.tagg=1", "'tagg' not allowed"),
    "a typo in a metric source": ("config.metricSources.default.urll=http://x", "'urll' not allowed"),
    "an address that is no URL": ("config.metricSources.default.url=prometheus:9090", "does not match pattern"),
    "no replica": ("replicas=0", "minimum: got 0, want 1"),
    "a number as text": ("replicas=two", "got string, want integer"),
    "a level that does not exist": ("config.logLevel=LOUD", "value must be one of"),
    "a short digest": ("image.digest=sha256:123", "does not match pattern"),
    "no label key": ("nodeLabelKeys=null", "nodeLabelKeys"),
    "the managed label as a pool label": ("nodeLabelKeys={meltguard.io/managed}", "is Meltguard's own"),
    "Kubernetes' own label": ("nodeLabelKeys={kubernetes.io/hostname}", "belongs to Kubernetes"),
    "a key that is not there": ("signingKeys.active=k2", '"k2" is not in signingKeys.ids ["k1"]'),
    "a foreign account without a name": ("serviceAccount.create=false", "name the ServiceAccount"),
}


@pytest.mark.parametrize(("value", "text"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_value_is_refused_with_clear_words(helm: Path, value: str, text: str) -> None:
    with pytest.raises(ChartRefused, match=re.escape(text)):
        rendered(helm, "--set", value)


def operator_pod(documents: list[Manifest]) -> Any:
    return the(documents, "Deployment")["spec"]["template"]["spec"]


def operator_image(documents: list[Manifest]) -> Any:
    return operator_pod(documents)["containers"][0]["image"]


DIGEST = f"sha256:{'a' * 64}"
SET: dict[str, tuple[list[str], Callable[[list[Manifest]], Any], Any]] = {
    "image by default": ([], operator_image, "meltguard:0.1.0"),
    "registry and tag": (
        ["image.registry=r.example.com:5000", "image.tag=dev"],
        operator_image,
        "r.example.com:5000/meltguard:dev",
    ),
    "digest wins": (["image.tag=dev", f"image.digest={DIGEST}"], operator_image, f"meltguard@{DIGEST}"),
    "two replicas": ([], lambda docs: the(docs, "Deployment")["spec"]["replicas"], 2),
    "priority": (["priorityClassName=high"], lambda docs: operator_pod(docs)["priorityClassName"], "high"),
    "no priority": ([], lambda docs: operator_pod(docs).get("priorityClassName"), None),
    "toleration": (["tolerations[0].key=cpu"], lambda docs: operator_pod(docs)["tolerations"], [{"key": "cpu"}]),
    "affinity of one's own": (
        ["affinity.nodeAffinity.x=1"],
        lambda docs: operator_pod(docs)["affinity"],
        {"nodeAffinity": {"x": 1}},
    ),
    "extra argument": (["extraArgs={--x=1}"], lambda docs: operator_pod(docs)["containers"][0]["args"][-1], "--x=1"),
    "no disruption budget": (
        ["podDisruptionBudget.enabled=false"],
        lambda docs: of_kind(docs, "PodDisruptionBudget"),
        [],
    ),
    "no network policy": (["networkPolicy.enabled=false"], lambda docs: of_kind(docs, "NetworkPolicy"), []),
    "no service monitor": ([], lambda docs: of_kind(docs, "ServiceMonitor"), []),
    "a service monitor": (
        ["serviceMonitor.enabled=true", "serviceMonitor.interval=5s"],
        lambda docs: the(docs, "ServiceMonitor")["spec"]["endpoints"],
        [{"port": "http", "path": "/metrics", "interval": "5s"}],
    ),
    "no pod monitor": ([], lambda docs: of_kind(docs, "PodMonitor"), []),
    "a pod monitor": (
        ["podMonitor.enabled=true", "podMonitor.selector.app=image-gen", "podMonitor.namespaces={serving}"],
        lambda docs: the(docs, "PodMonitor", f"{RELEASE}-agents")["spec"],
        {
            "namespaceSelector": {"matchNames": ["serving"]},
            "selector": {"matchLabels": {"app": "image-gen"}},
            "podMetricsEndpoints": [{"port": "control", "path": "/metrics", "interval": "15s"}],
        },
    ),
    "a pod monitor of all namespaces": (
        ["podMonitor.enabled=true", "podMonitor.selector.app=image-gen"],
        lambda docs: the(docs, "PodMonitor", f"{RELEASE}-agents")["spec"]["namespaceSelector"],
        {"any": True},
    ),
    "no rules": ([], lambda docs: of_kind(docs, "PrometheusRule"), []),
    "rules": (
        ["prometheusRule.enabled=true"],
        lambda docs: the(docs, "PrometheusRule")["spec"],
        yaml.safe_load(rules_yaml()),
    ),
    "rules whose links work": (
        ["prometheusRule.enabled=true", "prometheusRule.runbooks=https://wiki.example/runbooks"],
        lambda docs: the(docs, "PrometheusRule")["spec"]["groups"][0]["rules"][0]["annotations"]["runbook_url"],
        "https://wiki.example/runbooks#meltguardnoleader",
    ),
    "a dashboard": (
        ["dashboard.enabled=true"],
        lambda docs: json.loads(the(docs, "ConfigMap", f"{RELEASE}-dashboard")["data"]["meltguard.json"]),
        json.loads(dashboard_json()),
    ),
    "no CRDs": (["crds.enabled=false"], lambda docs: of_kind(docs, "CustomResourceDefinition"), []),
    "CRDs that go": (
        ["crds.keep=false"],
        lambda docs: [crd["metadata"].get("annotations") for crd in of_kind(docs, "CustomResourceDefinition")],
        [None, None],
    ),
    "no uninstall Job": (["releaseHook.enabled=false"], lambda docs: of_kind(docs, "Job"), []),
    "no aggregated roles": (
        ["rbac.aggregateToUserRoles=false"],
        lambda docs: sorted(role["metadata"]["name"] for role in of_kind(docs, "ClusterRole")),
        [RELEASE, f"{RELEASE}-release"],
    ),
    "keys of one's own": (["signingKeys.existingSecret=mine"], lambda docs: of_kind(docs, "Secret"), []),
    "mounted keys of one's own": (
        ["signingKeys.existingSecret=mine"],
        lambda docs: [volume["secret"]["secretName"] for volume in operator_pod(docs)["volumes"] if "secret" in volume],
        ["mine"],
    ),
    "a full name": (["fullnameOverride=mg"], lambda docs: the(docs, "Deployment", "mg")["metadata"]["name"], "mg"),
}


@pytest.mark.parametrize(("values", "read", "expected"), SET.values(), ids=SET)
def test_a_value_does_what_it_says(
    helm: Path, values: list[str], read: Callable[[list[Manifest]], Any], expected: object
) -> None:
    assert read(rendered(helm, *[part for value in values for part in ("--set", value)])) == expected


def test_common_labels_are_on_every_object_and_pod(helm: Path) -> None:
    chart = rendered(helm, "--set", "commonLabels.cost=images", "--set", "serviceMonitor.enabled=true")
    bare = [
        f"{document['kind']}/{document['metadata']['name']}"
        for document in chart
        if "cost" not in document["metadata"]["labels"]
    ]
    assert not bare
    assert all(pod["metadata"]["labels"]["cost"] == "images" for pod in pods_of(chart))


def test_the_service_reaches_the_operator_and_not_the_uninstall_job(chart: list[Manifest]) -> None:
    operator, job = (pod["metadata"]["labels"] for pod in pods_of(chart))
    for selector in (
        the(chart, "Service")["spec"]["selector"],
        the(chart, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= operator.items()
        assert not selector.items() <= job.items()
    network = the(chart, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    assert network.items() <= operator.items()
    assert network.items() <= job.items()


def test_the_configuration_says_what_the_values_say(helm: Path) -> None:
    chart = rendered(
        *(helm, "--set", "nodeLabelKeys={workload}", "--set", "kueue.clusterQueues={research}"),
        *("--set", "config.metricSources.default.bearerTokenFile=/t"),
    )
    text = the(chart, "ConfigMap", f"{RELEASE}-config")["data"]["config.yaml"]
    assert yaml.safe_load(text) == {
        "logLevel": "INFO",
        "metricSources": {
            "default": {"url": "http://prometheus-operated.monitoring.svc:9090", "bearerTokenFile": "/t"}
        },
        "publicKeysConfigMap": f"{RELEASE}-agent-keys",
        "nodeLabelKeys": ["workload"],
        "nodeTaintKeys": ["workload"],
        "clusterQueues": ["research"],
    }
    assert ConfigFile.model_validate(yaml.safe_load(text)).cluster_queues == ("research",)


def test_a_changed_configuration_or_key_rolls_the_pods(helm: Path, chart: list[Manifest]) -> None:
    def annotations(documents: list[Manifest]) -> Any:
        return the(documents, "Deployment")["spec"]["template"]["metadata"]["annotations"]

    louder = annotations(rendered(helm, "--set", "config.logLevel=DEBUG"))
    rotated = annotations(rendered(helm, "--set", "signingKeys.ids={k1,k2}"))
    assert louder["checksum/config"] != annotations(chart)["checksum/config"]
    assert louder["checksum/keys"] == annotations(chart)["checksum/keys"] != rotated["checksum/keys"]


def test_signing_keys_are_made_anew_each_time_and_fit_the_operator(helm: Path, chart: list[Manifest]) -> None:
    data = the(chart, "Secret", f"{RELEASE}-signing-keys")["data"]
    assert base64.b64decode(data["active"]) == b"k1"
    seed = base64.b64decode(base64.b64decode(data["k1"]))
    assert SigningKey("k1", seed).public_text().startswith("k1=")
    again = the(rendered(helm), "Secret", f"{RELEASE}-signing-keys")["data"]
    assert again["k1"] != data["k1"]


def test_the_plain_manifests_hold_no_secret_and_no_hook(chart: list[Manifest]) -> None:
    plain = [document for document in yaml.safe_load_all((ROOT / "deploy" / "operator.yaml").read_text()) if document]
    assert not of_kind(plain, "Secret")
    assert not of_kind(plain, "Job")
    hooked = {"Job", "ServiceAccount", "ClusterRoleBinding"}
    names = {(document["kind"], document["metadata"]["name"]) for document in plain}
    expected = {(document["kind"], document["metadata"]["name"]) for document in chart if document["kind"] != "Secret"}
    missing = expected - names
    assert missing == {(kind, f"{RELEASE}-release") for kind in hooked}
    assert names - expected == {("Namespace", NAMESPACE)}


def test_agents_are_not_scraped_without_saying_which_pods_they_are_in(helm: Path) -> None:
    with pytest.raises(ChartRefused, match="set it to labels of the serving pods"):
        rendered(helm, "--set", "podMonitor.enabled=true")
