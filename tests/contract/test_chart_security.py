"""What the chart allows, to whom, and what holds them to it: the rendered objects against docs/security.md."""

import json
from pathlib import Path

import pytest

from support.chart import NAMESPACE, RELEASE, Manifest, of_kind, pods_of, rendered, the

pytestmark = pytest.mark.plane  # helm is one of the programs that are built into the cache


@pytest.fixture(scope="module")
def chart(helm: Path) -> list[Manifest]:
    """Every object under default values."""
    return rendered(helm)


def test_pods_meet_the_restricted_standard_and_more(chart: list[Manifest]) -> None:
    for pod in (template["spec"] for template in pods_of(chart)):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert set(container["resources"]["limits"]) == {"cpu", "memory"}
            assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}  # noqa: S108 - all it may write


def test_rights_are_the_least(chart: list[Manifest]) -> None:
    rules = [rule for kind in ("ClusterRole", "Role") for role in of_kind(chart, kind) for rule in role["rules"]]
    granted = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    assert not {name for pair in granted for name in pair if "*" in name}
    assert not {pair for pair in granted if pair[0] in {"secrets", "nodes/proxy", "pods/exec", "serviceaccounts/token"}}
    assert not {pair for pair in granted if pair[1] in {"bind", "escalate", "impersonate"}}
    assert {verb for resource, verb in granted if resource == "nodes"} == {"get", "list", "watch", "patch"}
    assert {verb for resource, verb in granted if resource == "pods"} == {"get", "list", "watch", "patch"}
    deleted = {resource for resource, verb in granted if verb.startswith("delete")}
    assert deleted == {"imageservicepolicies"}  # in the aggregated role edit, for people


def test_pools_are_written_by_cluster_administrators_only(chart: list[Manifest]) -> None:
    for name in (f"{RELEASE}-view", f"{RELEASE}-edit"):
        for rule in the(chart, "ClusterRole", name)["rules"]:
            assert "gpupools" not in rule["resources"] or set(rule["verbs"]) == {"get", "list", "watch"}


@pytest.mark.parametrize("topic", ["fence", "fence-memory", "node-scope", "claims", "pods", "configmaps", "overrides"])
def test_every_refusal_names_its_policy(chart: list[Manifest], topic: str) -> None:
    policy = the(chart, "ValidatingAdmissionPolicy", f"{RELEASE}-{topic}")
    word = "fence" if topic == "fence-memory" else topic  # the operator knows a refused epoch by this word
    for validation in policy["spec"]["validations"]:
        text = validation.get("message") or validation["messageExpression"].removeprefix("'")
        assert text.startswith(f"meltguard-{word}: ")
    assert policy["spec"]["failurePolicy"] == "Fail"
    binding = the(chart, "ValidatingAdmissionPolicyBinding", f"{RELEASE}-{topic}")
    assert binding["spec"]["validationActions"] == ["Deny"]


def test_the_fence_reads_the_lease_that_the_operator_holds(chart: list[Manifest]) -> None:
    reference = the(chart, "ValidatingAdmissionPolicyBinding", f"{RELEASE}-fence")["spec"]["paramRef"]
    assert reference == {"name": "meltguard", "namespace": NAMESPACE, "parameterNotFoundAction": "Allow"}
    for pod in pods_of(chart):
        assert f"--lease={reference['name']}" in pod["spec"]["containers"][0]["args"]
    roles = (the(chart, "Role"), the(chart, "ClusterRole", f"{RELEASE}-release"))
    named = [rule["resourceNames"] for role in roles for rule in role["rules"] if "resourceNames" in rule]
    assert named == [["meltguard"], ["meltguard"]]


@pytest.mark.parametrize(
    "account", [[], ["--set", "serviceAccount.create=false", "--set", "serviceAccount.name=theirs"]]
)
def test_policies_hold_the_identities_that_the_pods_run_as(helm: Path, account: list[str]) -> None:
    chart = rendered(helm, *account)
    users = [f"system:serviceaccount:{NAMESPACE}:{pod['spec']['serviceAccountName']}" for pod in pods_of(chart)]
    policies = [one for one in of_kind(chart, "ValidatingAdmissionPolicy") if not _concerns_everybody(one)]
    assert len(policies) == 7
    for policy in policies:
        (condition,) = [item for item in policy["spec"]["matchConditions"] if "userInfo.username" in item["expression"]]
        assert json.dumps(users, separators=(",", ":")) in condition["expression"]


def _concerns_everybody(policy: Manifest) -> bool:
    """Who signs an override is asked of everybody who writes one."""
    return policy["metadata"]["name"] == f"{RELEASE}-overrides"


def test_the_fence_outlives_the_release(chart: list[Manifest]) -> None:
    """An API server would not read the Lease again, see docs/security.md."""
    for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        assert the(chart, kind, f"{RELEASE}-fence")["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_the_uninstall_job_has_its_rights_when_it_runs(chart: list[Manifest]) -> None:
    hooks = [document for document in chart if "helm.sh/hook" in document["metadata"].get("annotations", {})]
    by_weight = sorted(hooks, key=lambda hook: int(hook["metadata"]["annotations"]["helm.sh/hook-weight"]))
    assert [hook["kind"] for hook in by_weight] == ["ServiceAccount", "ClusterRoleBinding", "Job"]
    account, binding, job = by_weight
    assert (
        binding["subjects"][0]["name"]
        == account["metadata"]["name"]
        == job["spec"]["template"]["spec"]["serviceAccountName"]
    )
    assert binding["roleRef"]["name"] == the(chart, "ClusterRole", f"{RELEASE}-release")["metadata"]["name"]


def test_only_what_is_named_may_be_scaled_at_providers(helm: Path) -> None:
    chosen = ["group=cluster.x-k8s.io", "resource=machinedeployments", "names={burst}"]
    flags = [part for value in chosen for part in ("--set", f"providers.scales[0].{value}")]
    rules = the(rendered(helm, *flags), "ClusterRole")["rules"]
    ours = [rule for rule in rules if rule["apiGroups"] == ["cluster.x-k8s.io"]]
    assert ours == [
        {"apiGroups": ["cluster.x-k8s.io"], "resources": [resource], "resourceNames": ["burst"], "verbs": verbs}
        for resource, verbs in (("machinedeployments", ["get"]), ("machinedeployments/scale", ["get", "patch"]))
    ]
