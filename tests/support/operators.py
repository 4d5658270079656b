"""Operators at work on a local plane: their processes, and nodes that are lent as they would lend them."""

import json
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import msgspec

from meltguard.adapters.fleet_shape import read_node
from meltguard.api.node_patch import enter_patch
from meltguard.core.fleet import HOMEWARD, Claim, NodeView
from meltguard.core.move_actions import Enter, Intent, Scene, Wanted
from meltguard.core.moves import new_claim, next_action
from meltguard.core.units import Epoch, Instant
from meltguard.demo.script import operator_pids
from support.core_values import a_pool
from support.plane import Kubectl

OUT = Intent(wanted=Wanted.OUT, why="")


def kill(pid: int) -> None:
    """As the kernel does when memory runs out: no goodbye."""
    os.kill(pid, signal.SIGKILL)


def holder(kubectl: Kubectl, namespace: str, plane_directory: Path) -> int:
    """Process id of the operator that holds the Lease, as its own metrics say."""
    pids = operator_pids(plane_directory)
    for pod in kubectl.read("pods", "-n", namespace)["items"]:
        name, address = pod["metadata"]["name"], pod["status"].get("podIP", "")
        if name in pids and _leads(address):
            return pids[name]
    raise AssertionError(f"nobody of {sorted(pids)} holds the Lease")


def _leads(address: str) -> bool:
    with urllib.request.urlopen(f"http://{address}:8080/metrics", timeout=5) as answer:
        return b"meltguard_leader 1.0" in answer.read()


def freeze(pid: int) -> None:
    """As a virtual machine that is paused: it keeps its connections and its belief that it leads."""
    os.kill(pid, signal.SIGSTOP)


def thaw(pid: int) -> None:
    """Let it go on where it stood."""
    os.kill(pid, signal.SIGCONT)


def a_gpu_node(name: str, pool: str) -> dict[str, Any]:
    """A managed GPU node of eight GPUs, which kwok plays, with room for any pod the scheduler binds."""
    room = {"cpu": "64", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": "8"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"workload": pool, "meltguard.io/managed": "true", "rack": "r1"},
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": {"taints": [{"key": "workload", "value": pool, "effect": "NoSchedule"}]},
        "status": {"allocatable": room, "capacity": room},
    }


def seen(kubectl: Kubectl, node: str) -> NodeView:
    """A node as the operator reads it."""
    return read_node(json.dumps(kubectl.read("node", node)).encode())


def lend(kubectl: Kubectl, node: str, policy: tuple[str, str], at: tuple[float, float]) -> None:
    """Walk a node out to the inference pool with the moves' own patches. `at` is (now, due).

    The operator sees the claim too and may take a step first: then ours is refused, and the node is read again.
    """
    now = Instant(at[0])
    view = seen(kubectl, node)
    claim = new_claim(view, policy, (a_pool(), a_pool("inference")), (now, Instant(at[1])))
    kubectl("patch", "node", node, "--type=json", "-p", _patch(view, claim))
    while (view := seen(kubectl, node)).claim is not None:
        action = next_action(view, view.claim, OUT, Scene(now=now))
        if not isinstance(action, Enter) or view.claim.step in HOMEWARD:
            return
        kubectl.run("patch", "node", node, "--type=json", "-p", _patch(view, action.claim))


def _patch(view: NodeView, claim: Claim) -> str:
    return msgspec.json.encode(enter_patch(view, claim, Epoch(1))).decode()
