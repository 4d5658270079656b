"""The local plane: real programs, real addresses."""

import http.client
import itertools
import json
import os
import signal
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from meltguard.errors import InvalidInput
from meltguard.localcluster.asking import Door, answers_ping
from meltguard.localcluster.plane import Plane
from support.eventually import eventually
from support.plane import Kubectl

pytestmark = pytest.mark.plane


def test_every_component_is_ready(plane: Plane, kubectl: Kubectl) -> None:
    assert {component.name for component in plane.component_list()} == set(plane.processes)
    assert all(component.is_ready() for component in plane.component_list())
    assert "local-runner" in kubectl("get", "nodes")
    assert answers_ping(plane.valkey_url.split("/")[2].split(":")[0], 6379)


def test_nobody_is_served_without_a_name(plane: Plane) -> None:
    context = ssl.create_default_context(cafile=plane.certificate_authority)
    connection = http.client.HTTPSConnection(plane.api_server.removeprefix("https://"), context=context)
    connection.request("GET", "/api/v1/nodes")
    assert connection.getresponse().status == 401


def test_a_service_account_gets_a_kubeconfig_of_its_own(plane: Plane, kubectl: Kubectl, namespace: str) -> None:
    kubeconfig = plane.kubeconfig_for_service_account(namespace, "default")
    asked = kubectl.run(f"--kubeconfig={kubeconfig}", "auth", "whoami")  # the last --kubeconfig wins
    assert f"system:serviceaccount:{namespace}:default" in asked.stdout
    assert "forbidden" in kubectl.run(f"--kubeconfig={kubeconfig}", "get", "nodes").stderr


async def test_a_validating_admission_policy_is_enforced(kubectl: Kubectl, namespace: str) -> None:
    name = f"refuse-{namespace}"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    validation = {"expression": "object.metadata.name.startsWith('good')", "message": "call it good"}
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": [validation]},
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selector},
        },
    }
    kubectl.apply(policy, binding)
    try:
        numbers = itertools.count()

        def refused() -> bool:
            made = kubectl.run("-n", namespace, "create", "configmap", f"bad-{next(numbers)}")
            return "call it good" in made.stderr

        await eventually(refused, within=20.0)
        kubectl("-n", namespace, "create", "configmap", "good-1")
    finally:
        kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name)


def test_the_audit_log_has_every_write_at_once_and_no_secret(plane: Plane, kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "create", "configmap", "seen", "--from-literal=colour=blue")
    kubectl("-n", namespace, "create", "secret", "generic", "hidden", "--from-literal=word=swordfish")
    kubectl("-n", namespace, "get", "configmaps")
    lines = plane.audit_log.read_text().rpartition("\n")[0].splitlines()  # somebody may be writing the next one
    events = [event for event in map(json.loads, lines) if event["objectRef"].get("namespace") == namespace]
    written = {(event["verb"], event["objectRef"]["resource"]): event for event in events}
    made = written["create", "configmaps"]
    assert made["user"]["username"] == "meltguard-local-admin"
    assert made["requestObject"]["data"] == {"colour": "blue"}
    assert "managedFields" not in made["responseObject"]["metadata"]
    assert written["create", "secrets"]["level"] == "Metadata"
    assert not {"get", "list", "watch"} & {event["verb"] for event in events}
    assert "swordfish" not in plane.audit_log.read_text()


class Exporter(BaseHTTPRequestHandler):
    """One metric."""

    def do_GET(self) -> None:
        """Answer a scrape."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(b"test_answer 42\n")

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def exporter(plane: Plane) -> Iterator[str]:
    with HTTPServer((plane.address(14_000), 9400), Exporter) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"{plane.address(14_000)}:9400"
        listening.shutdown()


async def test_prometheus_scrapes_what_is_dropped_into_the_targets(plane: Plane, exporter: str) -> None:
    prometheus = Door(plane.prometheus_url.split("/")[2].split(":")[0], 9090)
    targets = plane.prometheus_targets / "test.json"
    targets.write_text(json.dumps([{"targets": [exporter], "labels": {"kind": "test"}}]))

    def answer() -> Any:
        asked = prometheus.ask("GET", "/api/v1/query?query=test_answer")
        return json.loads(asked.body)["data"]["result"]

    try:
        await eventually(answer, within=15)
        assert answer()[0]["value"][1] == "42"
        assert answer()[0]["metric"]["kind"] == "test"
    finally:
        targets.unlink()


def test_a_killed_component_comes_back_with_what_was_stored(plane: Plane, kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "create", "configmap", "kept")
    killed = plane.processes["kube-apiserver"]
    os.kill(killed, signal.SIGKILL)
    plane.restart("kube-apiserver")
    assert plane.processes["kube-apiserver"] != killed
    kubectl("-n", namespace, "get", "configmap", "kept")
    with pytest.raises(InvalidInput, match="kube-scheduler"):
        plane.restart("docker")
