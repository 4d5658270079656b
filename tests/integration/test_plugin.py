"""`kubectl meltguard` as people run it, against a real API server with a policy whose status is there."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from meltguard.localcluster.plane import Plane
from support.custom_resources import CustomResources, installed
from support.objects import Object, a_policy_object
from support.plane import Kubectl
from support.statuses import a_policy_status

pytestmark = pytest.mark.plane

NAMESPACE = "plugin"
SOON = ("--for", "10m", "--reason", "launch day")


@pytest.fixture(scope="module")
def resources(plane: Plane, kubectl: Kubectl) -> CustomResources:
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    return installed(plane, kubectl)


@pytest.fixture
def policy(resources: CustomResources, kubectl: Kubectl) -> Iterator[Object]:
    body = a_policy_object(namespace=NAMESPACE, overrides=[])
    resources.apply(body).must()
    status = a_policy_status().model_dump(mode="json", by_alias=True, exclude_none=True)
    resources.write_status(body, status).must()
    yield body
    kubectl("delete", "isp", "image-gen", "-n", NAMESPACE)


def command(plane: Plane, *arguments: str) -> tuple[list[str], dict[str, str]]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    words = [str(plane.binaries["kubectl"]), "meltguard", *arguments]
    return words, {**os.environ, "PATH": path, "KUBECONFIG": str(plane.kubeconfig)}


def plugin(plane: Plane, *arguments: str) -> subprocess.CompletedProcess[str]:
    words, environment = command(plane, *arguments)
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=180, check=False)


def told(plane: Plane, *arguments: str) -> str:
    ran = plugin(plane, *arguments, "-n", NAMESPACE)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def spec(kubectl: Kubectl) -> Object:
    return kubectl.read("isp", "image-gen", "-n", NAMESPACE)["spec"]


@pytest.mark.usefixtures("policy")
def test_looking(plane: Plane) -> None:
    overview = told(plane, "status")
    assert overview.split()[:3] == ["NAMESPACE", "POLICY", "OK"]
    assert "Overloaded: wait 6.1 s; free rejected to 31/m" in overview
    assert "promised back by" in told(plane, "status", "image-gen")
    assert "PRESSURE" in told(plane, "status", "-o", "wide")
    assert "to borrow a node:" in told(plane, "why", "image-gen", "--history")
    assert "LIFTS WHEN" in told(plane, "limits", "-o", "wide")
    assert f"{NAMESPACE}/image-gen" in plugin(plane, "limits", "-A").stdout


@pytest.mark.usefixtures("policy")
def test_every_form_of_output(plane: Plane) -> None:
    assert told(plane, "status", "-o", "name") == "imageservicepolicy.meltguard.io/image-gen\n"
    one = json.loads(told(plane, "status", "image-gen", "-o", "json"))
    assert (one["kind"], one["status"]["level"]) == ("ImageServicePolicy", "Overloaded")
    assert "managedFields" not in one["metadata"]
    assert yaml.safe_load(told(plane, "limits", "-o", "yaml"))["kind"] == "List"


@pytest.mark.usefixtures("policy")
def test_watching_prints_what_changed(plane: Plane, resources: CustomResources, policy: Object) -> None:
    words, environment = command(plane, "status", "-w", "-n", NAMESPACE)
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True, bufsize=1) as watching:
        try:
            assert watching.stdout is not None
            assert watching.stdout.readline().startswith("NAMESPACE")
            assert "wait 6.1 s" in watching.stdout.readline()
            resources.write_status(policy, {"why": "calm: wait 0.1 s"}).must()
            while "calm: wait 0.1 s" not in (line := watching.stdout.readline()):
                assert line, "it ended without telling the change"
        finally:
            watching.kill()


@pytest.mark.usefixtures("policy")
def test_an_override_is_set_replaced_and_taken_away(plane: Plane, kubectl: Kubectl) -> None:
    told(plane, "override", "image-gen", "--tier", "free", "--state", "Suspend", *SOON)
    told(plane, "override", "image-gen", "--level", "Critical", *SOON)
    told(plane, "override", "image-gen", "--tier", "free", "--limit", "30/m", *SOON)
    by_what = {one.get("tier", "level"): one for one in spec(kubectl)["overrides"]}
    assert by_what["free"].get("state") is None
    assert (by_what["free"]["limit"], by_what["free"]["reason"]) == ("30/m", "launch day")
    assert by_what["free"]["by"], "the API server's name of whoever set it"
    told(plane, "override", "image-gen", "--tier", "free", "--remove")
    assert [one["level"] for one in spec(kubectl)["overrides"]] == ["Critical"]


@pytest.mark.usefixtures("policy")
def test_pausing_keeps_the_mode_for_resuming(plane: Plane, kubectl: Kubectl) -> None:
    kubectl("patch", "isp", "image-gen", "-n", NAMESPACE, "--type=merge", "-p", '{"spec":{"mode":"Shadow"}}')
    told(plane, "pause", "image-gen", "--reason", "an upgrade")
    assert spec(kubectl)["mode"] == "Paused"
    assert plugin(plane, "pause", "image-gen", "-n", NAMESPACE, "--reason", "again").returncode == 2
    told(plane, "resume", "image-gen")
    assert spec(kubectl)["mode"] == "Shadow"
    assert plugin(plane, "resume", "image-gen", "-n", NAMESPACE).returncode == 2


@pytest.mark.usefixtures("policy")
def test_a_change_that_is_only_tried_is_told_in_any_form_and_not_kept(plane: Plane, kubectl: Kubectl) -> None:
    suspend = ("override", "image-gen", "--tier", "free", "--state", "Suspend", *SOON)
    assert "(dry run: nothing was kept)" in told(plane, *suspend, "--dry-run", "server")
    tried = json.loads(told(plane, *suspend, "--dry-run", "server", "-o", "json"))
    assert tried["spec"]["overrides"][0]["state"] == "Suspend"
    assert "managedFields" not in tried["metadata"]
    named = told(plane, "pause", "image-gen", "--reason", "x", "--dry-run", "server", "-o", "name")
    assert named == "imageservicepolicy.meltguard.io/image-gen\n"
    assert not spec(kubectl).get("overrides")
    assert spec(kubectl)["mode"] == "Enforce"
    told(plane, *suspend)
    assert json.loads(told(plane, "override", "image-gen", "--list", "-o", "json"))[0]["tier"] == "free"


@pytest.mark.usefixtures("policy")
def test_policies_are_chosen_by_label(plane: Plane, kubectl: Kubectl) -> None:
    kubectl("label", "isp", "image-gen", "-n", NAMESPACE, "stage=live")
    assert "image-gen" in told(plane, "status", "-l", "stage=live")
    assert "image-gen" not in told(plane, "status", "-l", "stage!=live")


@pytest.mark.usefixtures("policy")
def test_kubectls_own_flags_lead_to_the_cluster(plane: Plane, kubectl: Kubectl, tmp_path: Path) -> None:
    """Another cluster and user than the context's, then no kubeconfig at all."""
    config = yaml.safe_load(plane.kubeconfig.read_text())
    right = config["clusters"][0]["cluster"]
    here = config["users"][0]
    config["clusters"].append({"name": "right", "cluster": right})
    config["users"].append({"name": "me", "user": here["user"]})
    config["clusters"][0] = {"name": config["clusters"][0]["name"], "cluster": {"server": "https://127.0.0.1:1"}}
    config["users"][0] = {"name": here["name"], "user": {"token": "of nobody"}}
    mine = tmp_path / "kubeconfig"
    mine.write_text(yaml.safe_dump(config))
    asked = ("status", "--kubeconfig", str(mine), "--request-timeout", "20s")
    assert plugin(plane, *asked, "-n", NAMESPACE).returncode == 1
    assert "Overloaded" in told(plane, *asked, "--cluster", "right", "--user", "me")
    unknown = plugin(plane, *asked, "--cluster", "left", "-n", NAMESPACE)
    assert unknown.returncode == 2
    assert "the kubeconfig has no cluster left; there are: " in unknown.stderr
    kubectl("create", "serviceaccount", "looker", "-n", NAMESPACE)
    verbs = ("--verb=get,list", "--resource=imageservicepolicies.meltguard.io")
    kubectl("create", "role", "looks", *verbs, "-n", NAMESPACE)
    kubectl("create", "rolebinding", "looker", "--role=looks", f"--serviceaccount={NAMESPACE}:looker", "-n", NAMESPACE)
    token = kubectl("create", "token", "looker", "-n", NAMESPACE).strip()
    bare = ("--kubeconfig", str(tmp_path / "none"), "--server", right["server"], "--token", token)
    assert "Overloaded" in told(plane, "status", *bare, "--insecure-skip-tls-verify")
    assert plugin(plane, "status", *bare, "-n", NAMESPACE).returncode == 1, "the server's certificate is not believed"


WRONG = {
    "no such policy": (
        ("why", "other"),
        "there is no ImageServicePolicy other in namespace plugin; there are: plugin/",
    ),
    "both -A and -n": (("status", "-A"), "give one of the two"),
    "no end": (("override", "image-gen", "--tier", "free", "--state", "Suspend", "--reason", "x y z"), "end by itself"),
    "over": (
        ("override", "image-gen", "--level", "Normal", "--until", "2020-01-01T00:00:00Z", "--reason", "x y z"),
        "still to come",
    ),
    "no reason": (("override", "image-gen", "--level", "Normal", "--for", "1m"), "give --reason"),
    "nothing said": (("override", "image-gen", "--tier", "free", *SOON), "say what to set"),
    "no such tier": (("override", "image-gen", "--tier", "gold", "--state", "Suspend", *SOON), "spec.tiers"),
    "nothing to remove": (("override", "image-gen", "--tier", "pro", "--remove"), "there is no override of tier pro"),
    "no such context": (("status", "--context", "elsewhere"), "elsewhere"),
}


@pytest.mark.usefixtures("policy")
@pytest.mark.parametrize(("arguments", "says"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_with_the_fix(plane: Plane, arguments: tuple[str, ...], says: str) -> None:
    ran = plugin(plane, *arguments, "-n", NAMESPACE)
    assert ran.returncode == 2, ran.stdout
    assert says in ran.stderr


@pytest.mark.usefixtures("policy")
def test_missing_rights_are_named(plane: Plane, kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl("create", "serviceaccount", "nobody", "-n", NAMESPACE)
    token = kubectl("create", "token", "nobody", "-n", NAMESPACE).strip()
    config = yaml.safe_load(plane.kubeconfig.read_text())
    for user in config["users"]:
        user["user"] = {"token": token}
    mine = tmp_path / "kubeconfig"
    mine.write_text(yaml.safe_dump(config))
    ran = plugin(plane, "status", "-n", NAMESPACE, "--kubeconfig", str(mine))
    assert ran.returncode != 0
    assert "imageservicepolicies" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.usefixtures("policy")
def test_whoever_one_acts_as_is_who_did_it_and_their_rights_count(plane: Plane, kubectl: Kubectl) -> None:
    """Rights to one policy by its name are enough for what is asked of it by name."""
    verbs = ("--verb=get,patch", "--resource=imageservicepolicies.meltguard.io", "--resource-name=image-gen")
    kubectl("create", "role", "one-policy", *verbs, "-n", NAMESPACE)
    kubectl("create", "rolebinding", "launch-team", "--role=one-policy", "--group=launch", "-n", NAMESPACE)
    as_pat = ("--as", "pat", "--as-group", "launch", "--as-group", "system:authenticated")
    assert "Overloaded" in told(plane, "status", "image-gen", *as_pat)
    told(plane, "override", "image-gen", "--tier", "free", "--state", "Suspend", *SOON, *as_pat)
    assert spec(kubectl)["overrides"][0]["by"] == "pat"
    refused = plugin(plane, "status", "-n", NAMESPACE, *as_pat)
    assert refused.returncode != 0
    assert 'User "pat" cannot list' in refused.stderr.replace('\\"', '"')
    alone = plugin(plane, "status", "-n", NAMESPACE, "--as-group", "launch")
    assert alone.returncode == 2
    assert "--as-group needs --as" in alone.stderr
