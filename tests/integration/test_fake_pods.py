"""What our stages make kwok do with fake nodes and their pods."""

import json
import os
import signal
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from meltguard.localcluster.plane import Plane
from support.eventually import eventually
from support.plane import Kubectl

pytestmark = pytest.mark.plane
FakeNode = Callable[..., str]
LOCAL = "local.meltguard.io"


def a_pod(name: str, node: str, grace: int = 30, **annotations: str) -> dict[str, Any]:
    """A pod on a fake node; annotations without our prefix, dashes as underscores."""
    named = {f"{LOCAL}/{key.replace('_', '-')}": value for key, value in annotations.items()}
    container = {"name": "c", "image": "model"}
    spec = {"nodeName": node, "terminationGracePeriodSeconds": grace, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": named}, "spec": spec}


def a_job(name: str, node: str, **annotations: str) -> dict[str, Any]:
    pod = a_pod(name, node, **annotations)
    pod["spec"]["restartPolicy"] = "Never"
    template = {"metadata": {"annotations": pod["metadata"]["annotations"]}, "spec": pod["spec"]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template}}


@pytest.fixture
def inside(kubectl: Kubectl, namespace: str) -> Callable[..., str]:
    """Kubectl in the test's namespace."""

    def run(*arguments: str, stdin: str | None = None) -> str:
        return kubectl("-n", namespace, *arguments, stdin=stdin)

    return run


@pytest.fixture
def node(fake_node: FakeNode) -> str:
    return fake_node(f"fake-{uuid.uuid4().hex[:6]}")


def make(inside: Callable[..., str], *objects: dict[str, Any]) -> None:
    inside("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def test_a_model_loads_for_as_long_as_it_says(inside: Callable[..., str], node: str) -> None:
    began = time.monotonic()
    make(inside, a_pod("slow", node, load_delay="2.5s"), a_pod("quick", node))
    inside("wait", "pod/quick", "--for=condition=Ready", "--timeout=60s")
    inside("wait", "pod/slow", "--for=jsonpath={.status.phase}=Running", "--timeout=60s")
    for number in range(100):  # as often as somebody writes it: that must not start its time anew
        inside("annotate", "--overwrite", "pod/slow", f"somebody=writes-{number}")
        if since(inside, "slow"):
            break
        time.sleep(0.2)
    assert time.monotonic() - began > 2.4
    assert since(inside, "slow") >= since(inside, "quick")  # in whole seconds, and kwok may stand still for as long


def since(inside: Callable[..., str], pod: str) -> str:
    """When it became Ready; "" where it is not."""
    ready = '{.status.conditions[?(@.type=="Ready")].status}'
    if inside("get", "pod", pod, "-o", f"jsonpath={ready}") != "True":
        return ""
    return inside("get", "pod", pod, "-o", f"jsonpath={ready.replace('status}', 'lastTransitionTime}')}")


def test_pods_get_addresses_of_the_pod_network(inside: Callable[..., str], node: str, plane: Plane) -> None:
    make(inside, a_pod("a", node))
    inside("wait", "pod/a", "--for=condition=Ready", "--timeout=60s")
    third = int(inside("get", "pod", "a", "-o", "jsonpath={.status.podIP}").split(".")[2])
    assert plane.pod_network.endswith(".64.0/18")
    assert 64 <= third < 128


def test_a_job_ends_after_its_run_duration_or_runs_on(inside: Callable[..., str], node: str) -> None:
    make(inside, a_job("short", node, run_duration="2s"), a_job("endless", node))
    inside("wait", "job/short", "--for=condition=Complete", "--timeout=60s")
    inside("wait", "job/endless", "--for=jsonpath={.status.active}=1", "--timeout=60s")


def test_a_deleted_pod_keeps_its_grace(inside: Callable[..., str], node: str) -> None:
    make(inside, a_pod("busy", node, grace=3))
    inside("wait", "pod/busy", "--for=condition=Ready", "--timeout=60s")
    began = time.monotonic()
    inside("delete", "pod", "busy", "--timeout=60s")
    assert time.monotonic() - began > 1.9  # deletionTimestamp is cut to whole seconds


def test_a_drained_pod_goes_before_its_grace_is_over(inside: Callable[..., str], node: str) -> None:
    make(inside, a_pod("busy", node, grace=600))
    inside("wait", "pod/busy", "--for=condition=Ready", "--timeout=60s")
    inside("delete", "pod", "busy", "--wait=false")
    time.sleep(1)  # it is to be there for a while
    assert "Terminating" in inside("get", "pod", "busy")
    inside("annotate", "pod", "busy", f"{LOCAL}/drained=true")
    inside("wait", "pod/busy", "--for=delete", "--timeout=60s")


def test_a_pod_that_never_started_goes_at_once(inside: Callable[..., str], node: str, plane: Plane) -> None:
    os.kill(plane.processes["kwok"], signal.SIGSTOP)
    try:
        make(inside, a_pod("pending", node, grace=600))
        inside("delete", "pod", "pending", "--wait=false")
        assert "Terminating" in inside("get", "pod", "pending")
    finally:
        os.kill(plane.processes["kwok"], signal.SIGCONT)
    inside("wait", "pod/pending", "--for=delete", "--timeout=60s")


async def test_a_node_beats_by_lease_and_can_be_broken(kubectl: Kubectl, node: str) -> None:
    def lease() -> str:
        return kubectl("get", "lease", "-n", "kube-node-lease", node, "-o", "jsonpath={.spec.renewTime}")

    def version() -> str:
        return kubectl("get", "node", node, "-o", "jsonpath={.metadata.resourceVersion}")

    beats = 0
    while True:  # others write a new node too, but not for long; a beat that wrote it would do so each time
        before, beat = version(), lease()
        await eventually(lambda beat=beat: lease() != beat, within=20)
        beats += 1
        if version() == before:
            break
        assert beats < 5, "each beat writes the node"
    kubectl("annotate", "node", node, f"{LOCAL}/down=true")
    broken = {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Broken"}]}}
    kubectl("patch", "node", node, "--subresource=status", "-p", json.dumps(broken))
    kubectl("wait", f"node/{node}", "--for=condition=Ready=False", "--timeout=60s")
    kubectl("annotate", "node", node, f"{LOCAL}/down-")
    kubectl("wait", f"node/{node}", "--for=condition=Ready", "--timeout=60s")
