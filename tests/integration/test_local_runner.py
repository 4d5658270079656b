"""The node of the local plane whose pods are real processes."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from meltguard.localcluster.asking import Door
from meltguard.localcluster.plane import Plane
from meltguard.localcluster.processes import lives
from support.eventually import eventually
from support.plane import Kubectl

pytestmark = pytest.mark.plane
Inside = Callable[..., str]

SERVER = """
import functools, http.server, os, signal, sys
directory, ip, grace = sys.argv[1:4]
def leave(*_):
    print("leaving", flush=True)
    if grace == "polite":
        os._exit(0)
signal.signal(signal.SIGTERM, leave)
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=directory)
http.server.ThreadingHTTPServer((ip, 8000), handler).serve_forever()
"""


def a_pod(name: str, *command: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "example/meltguard:test", "command": list(command), **spec.pop("container", {})}
    metadata = {"name": name}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}


def a_job(name: str, *command: str, **spec: Any) -> dict[str, Any]:
    template = {"spec": {**a_pod(name, *command)["spec"], "restartPolicy": "Never"}}
    job = {"backoffLimit": 0, **spec, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": job}


def a_server(name: str, manner: str = "polite", **spec: Any) -> dict[str, Any]:
    """A pod that serves a mounted ConfigMap `pages` on its own address, port 8000."""
    container = {
        "args": ["/pages", "$(IP)", manner],
        "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"name": "http", "containerPort": 8000}],
        "volumeMounts": [{"name": "pages", "mountPath": "/pages"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1},
        "livenessProbe": {"httpGet": {"path": "/live", "port": "http"}, "periodSeconds": 1, "failureThreshold": 2},
    }
    volumes = [{"name": "pages", "configMap": {"name": "pages"}}]
    return a_pod(name, "python", "-u", "-c", SERVER, container=container, volumes=volumes, **spec)


@pytest.fixture
def inside(kubectl: Kubectl, namespace: str) -> Inside:
    """Kubectl in the test's namespace."""

    def run(*arguments: str, stdin: str | None = None) -> str:
        return kubectl("-n", namespace, *arguments, stdin=stdin)

    return run


@pytest.fixture
def pages(inside: Inside) -> None:
    inside("create", "configmap", "pages", "--from-literal=ready=yes", "--from-literal=live=yes")


def make(inside: Inside, *objects: dict[str, Any]) -> None:
    inside("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def read(inside: Inside, name: str, path: str) -> str:
    return inside("get", "pod", name, "-o", f"jsonpath={{{path}}}")


def restarts(inside: Inside, name: str) -> int:
    """Of its container; none where it has not begun."""
    return int(read(inside, name, ".status.containerStatuses[0].restartCount") or 0)


def logged(plane: Plane, namespace: str, name: str) -> str:
    log = plane.pod_logs / f"{namespace}_{name}.log"
    return log.read_text() if log.exists() else ""


def test_a_job_runs_a_real_process_as_its_service_account(plane: Plane, inside: Inside, namespace: str) -> None:
    make(inside, a_job("who", "kubectl", "auth", "whoami"))
    inside("wait", "job/who", "--for=condition=Complete", "--timeout=60s")
    pod = inside("get", "pods", "-l", "job-name=who", "-o", "jsonpath={.items[0].metadata.name}")
    assert f"system:serviceaccount:{namespace}:default" in logged(plane, namespace, pod)
    assert read(inside, pod, ".spec.nodeName") == "local-runner"
    assert read(inside, pod, ".status.containerStatuses[0].state.terminated.exitCode") == "0"


def test_a_job_that_fails_has_failed_with_its_exit_code(inside: Inside) -> None:
    make(inside, a_job("bad", "sh", "-c", "exit 7"))
    inside("wait", "job/bad", "--for=condition=Failed", "--timeout=60s")
    code = "jsonpath={.items[0].status.containerStatuses[0].state.terminated.exitCode}"
    assert inside("get", "pods", "-l", "job-name=bad", "-o", code) == "7"


@pytest.mark.usefixtures("pages")
async def test_a_pod_serves_on_its_own_address_and_follows_its_probes(inside: Inside) -> None:
    make(inside, a_server("web"))
    inside("wait", "pod/web", "--for=condition=Ready", "--timeout=60s")
    web = Door(read(inside, "web", ".status.podIP"), 8000)
    assert web.ask("GET", "/ready").body == b"yes"

    inside("patch", "configmap", "pages", "-p", json.dumps({"data": {"ready": None, "news": "today"}}))
    await eventually(lambda: web.ask("GET", "/news").body == b"today")
    inside("wait", "pod/web", "--for=condition=Ready=False", "--timeout=60s")
    assert restarts(inside, "web") == 0

    inside("patch", "configmap", "pages", "-p", json.dumps({"data": {"ready": "yes", "live": None}}))
    await eventually(lambda: restarts(inside, "web") >= 1, within=20)
    inside("patch", "configmap", "pages", "-p", json.dumps({"data": {"live": "yes"}}))
    inside("wait", "pod/web", "--for=condition=Ready", "--timeout=60s")


@pytest.mark.usefixtures("pages")
def test_deletion_asks_first_and_kills_when_the_grace_is_over(plane: Plane, inside: Inside, namespace: str) -> None:
    polite = a_server("polite", "polite", terminationGracePeriodSeconds=600)
    make(inside, polite, a_server("deaf", "deaf", terminationGracePeriodSeconds=2))
    inside("wait", "pod/polite", "pod/deaf", "--for=condition=Ready", "--timeout=60s")
    inside("delete", "pod", "polite", "--timeout=60s")  # long before its grace is over
    assert "leaving" in logged(plane, namespace, "polite")
    began = time.monotonic()
    inside("delete", "pod", "deaf")
    assert time.monotonic() - began > 1.8
    assert "leaving" in logged(plane, namespace, "deaf")


async def test_kubectl_logs_shows_what_a_pod_prints(inside: Inside) -> None:
    make(inside, a_pod("talker", "sh", "-c", "echo one; echo two; sleep 2; echo three", restartPolicy="Never"))
    began = ".status.containerStatuses[0].state"
    await eventually(lambda: any(word in read(inside, "talker", began) for word in ("running", "terminated")))
    assert inside("logs", "talker", "--follow") == "one\ntwo\nthree\n"
    assert inside("logs", "talker", "--tail=1") == "three\n"


async def test_a_crashing_pod_is_started_again_ever_later(inside: Inside) -> None:
    make(inside, a_pod("crash", "sh", "-c", "exit 3"))
    await eventually(lambda: restarts(inside, "crash") >= 2, within=20)
    assert read(inside, "crash", ".status.containerStatuses[0].lastState.terminated.exitCode") == "3"
    assert read(inside, "crash", ".status.phase") == "Running"
    inside("delete", "pod", "crash", "--timeout=60s")


async def test_a_pod_waits_for_what_it_refers_to(inside: Inside) -> None:
    reference = {"secretKeyRef": {"name": "later", "key": "word"}}
    container = {"env": [{"name": "WORD", "valueFrom": reference}]}
    make(inside, a_pod("patient", "sh", "-c", 'test "$WORD" = now', container=container, restartPolicy="Never"))
    waiting = ".status.containerStatuses[0].state.waiting.message"
    await eventually(lambda: "'later' with the key 'word'" in read(inside, "patient", waiting), within=10)
    inside("create", "secret", "generic", "later", "--from-literal=word=now")
    inside("wait", "pod/patient", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")


async def test_other_images_are_not_run_and_say_why(inside: Inside) -> None:
    make(inside, a_pod("foreign", "true", container={"image": "nginx:1"}))
    state = ".status.containerStatuses[0].state.waiting"
    await eventually(lambda: read(inside, "foreign", f"{state}.reason") == "ErrImagePull", within=10)
    assert "nginx:1" in read(inside, "foreign", f"{state}.message")
    inside("delete", "pod", "foreign", "--timeout=60s")


async def test_a_runner_that_comes_back_takes_its_pods_up_again(plane: Plane, inside: Inside, namespace: str) -> None:
    make(inside, a_pod("steady", "sh", "-c", "echo $$; exec sleep 1000"))
    inside("wait", "pod/steady", "--for=condition=Ready", "--timeout=60s")
    await eventually(lambda: logged(plane, namespace, "steady"))
    first = int(logged(plane, namespace, "steady"))
    await asyncio.to_thread(plane.restart, "runner")
    assert not lives(first)
    await eventually(lambda: len(logged(plane, namespace, "steady").split()) == 2)
    await eventually(lambda: restarts(inside, "steady") == 1)
    inside("wait", "pod/steady", "--for=condition=Ready", "--timeout=60s")
