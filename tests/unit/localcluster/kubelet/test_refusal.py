from typing import Any

import msgspec
import pytest

from meltguard.localcluster.kubelet.refusal import CONFIG, PULL, is_ours, refusal_of
from meltguard.localcluster.kubelet.shapes import Pod

IMAGES = {
    "meltguard": True,
    "meltguard:dev": True,
    "ghcr.io/example/meltguard:0.1.0": True,
    "localhost:5000/meltguard@sha256:00": True,
    "example/meltguard/agent:1": True,
    "nginx:meltguard": False,
    "localhost:5000/other": False,
    "": False,
}


@pytest.mark.parametrize(("image", "ours"), IMAGES.items())
def test_only_our_own_image_is_run(image: str, ours: bool) -> None:  # noqa: FBT001 - a table's column
    assert is_ours(image) is ours


def a_pod(spec: dict[str, Any], container: dict[str, Any]) -> Pod:
    one = {"name": "c", "image": "meltguard", **container}
    return msgspec.convert({"metadata": {"name": "a"}, "spec": {"containers": [one], **spec}}, Pod)


KNOWN = {"name": "kube-api-access-abc", "projected": {}}
UNSUPPORTED = {
    "initContainers": ({"initContainers": [{}]}, {}),
    "readinessGates": ({"readinessGates": [{}]}, {}),
    "envFrom": ({}, {"envFrom": [{}]}),
    "lifecycle hooks": ({}, {"lifecycle": {"preStop": {}}}),
    "probes other than httpGet": ({}, {"livenessProbe": {"exec": {}}}),
    "the valueFrom of the variable CPU": ({}, {"env": [{"name": "CPU", "valueFrom": {"resourceFieldRef": {}}}]}),
    "the kind of the volume 'disk'": ({"volumes": [KNOWN, {"name": "disk", "hostPath": {}}]}, {}),
}


@pytest.mark.parametrize(("name", "case"), UNSUPPORTED.items())
def test_what_would_be_run_by_half_is_not_run(name: str, case: tuple[dict[str, Any], dict[str, Any]]) -> None:
    refusal = refusal_of(a_pod(*case))
    assert refusal is not None
    assert refusal.reason == CONFIG
    assert name in refusal.message


def test_a_plain_pod_runs_and_a_foreign_image_does_not() -> None:
    assert refusal_of(a_pod({"volumes": [KNOWN, {"name": "tmp", "emptyDir": {}}]}, {})) is None
    refusal = refusal_of(a_pod({}, {"image": "nginx"}))
    assert refusal is not None
    assert refusal.reason == PULL
