"""Planes side by side, and what is left when one ends: nothing, however it ends."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meltguard.localcluster.detached import post_of
from meltguard.localcluster.plane import Plane
from meltguard.localcluster.processes import lives
from support.eventually import eventually
from support.plane import Kubectl

pytestmark = pytest.mark.plane

HOLD = """
import json, signal, sys, threading
from meltguard.localcluster.plane import running_plane
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job, such as CI, inherits it ignored
with running_plane() as plane:
    told = {"directory": str(plane.directory), "kubeconfig": str(plane.kubeconfig), "pids": plane.processes,
            "addresses": [component.address for component in plane.component_list()]}
    print(json.dumps(told), flush=True)
    threading.Event().wait()
"""
LOCAL = [sys.executable, "-c", "from meltguard.cli.main import app; app()", "local"]


@dataclass(frozen=True)
class Other:
    """A plane that another process holds."""

    parent: subprocess.Popen[bytes]
    told: dict[str, Any]

    def ends(self) -> None:
        """Every process is gone and nobody listens."""
        pids: list[int] = [self.parent.pid, *self.told["pids"].values()]
        asyncio.run(eventually(lambda: not any(lives(pid) for pid in pids), within=20))
        for address in self.told["addresses"]:
            host, port = address.split(":")
            with socket.socket() as probe:
                assert probe.connect_ex((host, int(port))) != 0


@pytest.fixture
def other() -> Iterator[Other]:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        yield Other(parent, json.loads(parent.stdout.readline()))
        parent.kill()


def test_two_planes_side_by_side_and_a_killed_one_leaves_nothing(plane: Plane, kubectl: Kubectl, other: Other) -> None:
    def there(*arguments: str, stdin: str | None = None) -> str:
        return kubectl(f"--kubeconfig={other.told['kubeconfig']}", *arguments, stdin=stdin)

    kubectl("create", "namespace", "only-here")
    assert "only-here" not in there("get", "namespaces")
    there("apply", "-f", "-", stdin=json.dumps(_sleeper()))
    there("wait", "pod/sleeper", "--for=condition=Ready", "--timeout=60s")
    log = Path(other.told["directory"]) / "pods" / "logs" / "default_sleeper.log"
    asyncio.run(eventually(log.read_text))
    sleeper = int(log.read_text())
    assert lives(sleeper)
    other.parent.kill()
    other.parent.wait()
    other.ends()
    asyncio.run(eventually(lambda: not lives(sleeper)))
    kubectl("delete", "namespace", "only-here", "--wait=false")
    assert plane.directory.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_plane_leaves_nothing(other: Other, number: signal.Signals) -> None:
    other.parent.send_signal(number)
    other.parent.wait(60)
    other.ends()
    if number is signal.SIGINT:  # SIGTERM ends Python without its finally blocks; the next plane removes the directory
        assert not Path(other.told["directory"]).exists()


def test_up_status_and_down_and_a_supervisor_that_is_killed() -> None:
    with _named("test-cli") as name:
        up = _local("up", name)
        assert up.returncode == 0, up.stderr
        kubeconfig = up.stdout.splitlines()[0].removeprefix("export KUBECONFIG=")
        assert Path(kubeconfig).exists()
        assert f"meltguard local down --name {name}" in up.stdout
        shown = _local("status", name)
        assert shown.returncode == 0
        assert shown.stdout.count("yes") == 8
        assert _local("up", name).stdout == up.stdout  # it runs already

        os.kill(_supervisor(name), signal.SIGKILL)
        asyncio.run(eventually(lambda: _local("status", name).returncode == 1))
        again = _local("up", name)
        assert "removing what it left" in again.stderr
        assert not Path(kubeconfig).exists()

        pids = [int(row.split()[1]) for row in _local("status", name).stdout.splitlines()[1:]]
        assert len(pids) == 8
        assert _local("down", name).returncode == 0
        assert not any(lives(pid) for pid in pids)
        assert "did not run" in _local("down", name).stdout


def _sleeper() -> dict[str, Any]:
    container = {"name": "c", "image": "meltguard", "command": ["sh", "-c", "echo $$; exec sleep 1000"]}
    metadata = {"name": "sleeper", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


@contextmanager
def _named(stem: str) -> Iterator[str]:
    """A name of this test run's own; the plane is down afterwards."""
    name = f"{stem}-{os.getpid()}"
    try:
        yield name
    finally:
        _local("down", name)
        shutil.rmtree(post_of(name).directory)


def _local(command: str, name: str) -> subprocess.CompletedProcess[str]:
    wide = {**os.environ, "COLUMNS": "120"}
    asked = [*LOCAL, command, "--name", name]
    return subprocess.run(asked, capture_output=True, text=True, timeout=240, check=False, env=wide)


def _supervisor(name: str) -> int:
    return int(post_of(name).lock.read_text())
