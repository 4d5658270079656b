"""The README's way onto kind, where Docker and kind are."""

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.chart import CHART, NAMESPACE, RELEASE, ROOT

pytestmark = pytest.mark.kind

IMAGE = "meltguard:0.1.0"
LIMIT = 900.0
"""Seconds that one command may take: the first one fetches images."""

GPUS = '{"status":{"capacity":{"nvidia.com/gpu":"8"},"allocatable":{"nvidia.com/gpu":"8"}}}'


def run(*command: str | Path) -> str:
    """Run it to its end; its output. Fails with what it complained about."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr}"
    return done.stdout


def missing() -> str:
    """What kind needs and this machine lacks; empty where all is there."""
    for program in ("docker", "kind", "kubectl"):
        if shutil.which(program) is None:
            return f"{program} is not on PATH"
    asked = subprocess.run(["docker", "info"], capture_output=True, text=True, timeout=30, check=False)
    return "" if asked.returncode == 0 else "Docker's daemon does not answer"


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A kind cluster of our own with the image loaded; the name of its context."""
    if lacking := missing():
        pytest.skip(f"kind was not tried: {lacking}")
    name = f"meltguard-{uuid.uuid4().hex[:6]}"
    run("docker", "build", "-f", "deploy/Dockerfile", "-t", IMAGE, ".")
    try:
        run("kind", "create", "cluster", "--name", name, "--config", "deploy/kind.yaml", "--wait", "180s")
        run("kind", "load", "docker-image", IMAGE, "--name", name)
        yield f"kind-{name}"
    finally:
        run("kind", "delete", "cluster", "--name", name)


def test_the_chart_installs_on_kind_and_goes_without_a_trace(cluster: str, helm: Path) -> None:
    here = ("--kube-context", cluster, "--namespace", NAMESPACE)
    kubectl = ("kubectl", "--context", cluster)
    nodes = run(*kubectl, "get", "nodes", "-l", "meltguard.io/managed=true", "-o", "name").split()
    assert len(nodes) == 4
    for node in nodes:
        run(*kubectl, "patch", node, "--subresource=status", "--type=merge", "-p", GPUS)
    run(helm, "install", RELEASE, CHART, *here, "--create-namespace", "--wait", "--timeout", "300s")
    for example in ("service", "pool-inference", "pool-research", "policy"):
        run(*kubectl, "apply", "-f", f"deploy/examples/{example}.yaml")
    run(
        *kubectl,
        "-n",
        "serving",
        "wait",
        "isp/image-gen",
        "--for=jsonpath={.status.observedGeneration}",
        "--timeout=60s",
    )
    run(helm, "uninstall", RELEASE, *here, "--wait", "--timeout", "330s")
    left = run(*kubectl, "get", "nodes", "-o", "jsonpath={.items[*].metadata.annotations}")
    assert "meltguard.io/loan" not in left
