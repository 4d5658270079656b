"""Busy research nodes on a local plane, and claims on them that a real operator carries out."""

import json
from dataclasses import dataclass
from typing import Any

import msgspec

from meltguard.adapters.fleet_shape import read_node
from meltguard.api.node_patch import enter_patch
from meltguard.clock import SystemClock
from meltguard.core.fleet import Drain, NodeView
from meltguard.core.moves import new_claim
from meltguard.core.policy import Eviction, OnDeadline
from meltguard.core.units import Epoch, GpuHours, Instant, Seconds
from support.admission import until
from support.core_values import a_pool
from support.operators import a_gpu_node
from support.plane import Kubectl

RESEARCH = "lab"
NOTICE = 3.0
GRACE = 2

EVICTION = Eviction(
    notice=Seconds(NOTICE),
    minimum_runtime=Seconds(0.0),
    deadline=Seconds(25.0),
    on_deadline=OnDeadline.GIVE_UP,
    loses_local_data=False,
    fails_jobs=True,
)


def a_training_pod(name: str, node: str, **spec: Any) -> dict[str, Any]:
    """A pod of a training run that has been bound to a node, as kwok plays it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": RESEARCH,
            "labels": {"app": name, "work": "train"},
        },
        "spec": {
            "nodeName": node,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": GRACE,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "train", "image": "train", "resources": {"limits": {"nvidia.com/gpu": "4"}}}],
            **spec,
        },
    }


def a_budget(name: str, app: str, **spec: Any) -> dict[str, Any]:
    """A disruption budget over one training pod."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": RESEARCH},
        "spec": {"selector": {"matchLabels": {"app": app}}, **spec},
    }


@dataclass(frozen=True, slots=True)
class Lab:
    """The research side of a plane under one operator."""

    kubectl: Kubectl
    policy: tuple[str, str]  # key, uid

    def node(self, name: str, *pods: dict[str, Any]) -> None:
        """A busy node, its pods Running."""
        self.kubectl("create", "-f", "-", stdin=json.dumps(a_gpu_node(name, "research")))
        self.kubectl("wait", f"node/{name}", "--for=condition=Ready", "--timeout=60s")
        for pod in pods:
            self.start(pod)
            place = ("-n", RESEARCH)
            self.kubectl("wait", f"pod/{pod['metadata']['name']}", *place, "--for=condition=Ready", "--timeout=60s")

    def start(self, pod: dict[str, Any]) -> None:
        """Create a pod as the training run's: nothing that nobody owns is ever evicted."""
        run = self.kubectl.read("configmap", "run", "-n", RESEARCH)["metadata"]
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "run", "uid": run["uid"], "controller": True}
        owned = {**pod, "metadata": {**pod["metadata"], "ownerReferences": [owner]}}
        self.kubectl("create", "-f", "-", stdin=json.dumps(owned))

    def claim(self, name: str, eviction: Eviction = EVICTION) -> None:
        """Write the claim, as the operator would; from here on it is the operator's."""
        now = Instant(SystemClock().now())
        drain = Drain(
            eviction=eviction,
            deadline=Instant(now + eviction.deadline),
            work_lost=GpuHours(1.5),
            victims=("lab/train",),
        )
        view = read_node(json.dumps(self.read(name)).encode())
        pools = (a_pool(), a_pool("inference"))
        claim = new_claim(view, self.policy, pools, (now, Instant(now + 3600.0)), drain)
        patch = msgspec.json.encode(enter_patch(view, claim, Epoch(1))).decode()
        self.kubectl("patch", "node", name, "--type=json", "-p", patch)

    def read(self, name: str) -> Any:
        """The node as the API server holds it."""
        return self.kubectl.read("node", name)

    def view(self, name: str) -> NodeView:
        """The node as the operator reads it."""
        return read_node(json.dumps(self.read(name)).encode())

    def pods(self, name: str) -> dict[str, Any]:
        """The pods bound to a node, by name."""
        found = self.kubectl.read("pods", "-n", RESEARCH, f"--field-selector=spec.nodeName={name}")["items"]
        return {pod["metadata"]["name"]: pod for pod in found}

    def await_step(self, name: str, step: str, limit: float = 60.0) -> None:
        """Until the node's claim is at a step."""
        until(lambda: (claim := self.view(name).claim) is not None and claim.step == step, limit)

    def await_home(self, name: str, limit: float = 60.0) -> None:
        """Until the claim is off."""
        until(lambda: self.view(name).claim is None, limit)

    def said(self, about: str) -> list[str]:
        """Reasons of the Events about an object, of any namespace."""
        events = self.kubectl.read("events", "-A", f"--field-selector=involvedObject.name={about}")["items"]
        return [event["reason"] for event in events]

    def events(self, about: str, reason: str) -> list[str]:
        """Messages of the Events about an object with a reason."""
        events = self.kubectl.read("events", "-A", f"--field-selector=involvedObject.name={about},reason={reason}")
        return [event["message"] for event in events["items"]]

    def shape(self, name: str) -> tuple[Any, ...]:
        """What must be as it was once a node is home."""
        body = self.read(name)
        return body["metadata"]["labels"], body["spec"].get("taints"), body["spec"].get("unschedulable")


def notice_of(pod: dict[str, Any]) -> dict[str, str]:
    """Our annotations on a pod, without the prefix."""
    marks = pod["metadata"].get("annotations", {})
    return {key.removeprefix("meltguard.io/"): text for key, text in marks.items() if key.startswith("meltguard.io/")}
