"""Audit lines made up for the checker's own tests: a node's whole round trip, to be bent in one place each."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from faults.evidence import Deed, Node, deeds_of, node_of, pod_of
from faults.promises import IDENTITY, Evidence
from meltguard.clock import rfc3339_micro
from meltguard.core.units import Instant

Object = dict[str, Any]
START = 1_800_000_000.0
KWOK = "kwok"
ADMIN = "admin"


def a_node(name: str = "r1", pool: str = "research", **changes: Any) -> Object:
    """A research node; `labels`, `annotations`, `taints`, `cordoned`, `ready`, `uid` change it."""
    annotations = {"owner": "x", **changes.get("annotations", {})}
    taints = changes.get("taints", [{"key": "workload", "value": pool, "effect": "NoSchedule"}])
    ready = "True" if changes.get("ready", True) else "False"
    labels = {"workload": pool, "meltguard.io/managed": "true", **changes.get("labels", {})}
    return {
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": changes.get("uid", f"uid-{name}"),
            "resourceVersion": "1",
            "labels": {key: value for key, value in labels.items() if value is not None},
            "annotations": {key: value for key, value in annotations.items() if value is not None},
        },
        "spec": {"taints": taints, **({"unschedulable": True} if changes.get("cordoned") else {})},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def a_claim(step: str, **changes: Any) -> str:
    """A claim's annotation; times are far in the future."""
    fields = {"policyUid": "p", "moveId": "m1", "home": "research", "to": "inference", "step": step, "prior": {}}
    return json.dumps({**fields, "stepDeadline": START + 900.0, "due": START + 900.0, **changes})


def claimed(step: str, pool: str = "research", epoch: int = 3, **changes: Any) -> Object:
    """A node at a step."""
    notes = {"meltguard.io/loan": a_claim(step, **changes.pop("claim", {})), "meltguard.io/epoch": str(epoch)}
    return a_node(pool=pool, **{"annotations": notes, "cordoned": step not in {"Claimed", "Lent", "Home"}, **changes})


def a_pod(name: str = "job-1", node: str = "r1", **changes: Any) -> Object:
    """A research pod; `annotations`, `labels`, `owner`, `phase` change it."""
    owner = changes.get("owner", "Job")
    return {
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "research",
            "uid": changes.get("uid", f"uid-{name}"),
            "resourceVersion": "1",
            "labels": changes.get("labels", {"app": "train"}),
            "annotations": changes.get("annotations", {}),
            "ownerReferences": [{"kind": owner, "controller": True}] if owner else [],
        },
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 2},
        "status": {"phase": changes.get("phase", "Running")},
    }


@dataclass(slots=True)
class Log:
    """An audit log that grows by a second a write."""

    lines: list[bytes] = field(default_factory=list)
    now: float = START
    version: int = 10

    def write(self, user: str, verb: str, ref: Object, **parts: Any) -> None:
        """One answered write; `asked`, `after`, `code`, `said`, `waited` (seconds before it) are its parts."""
        self.now += parts.get("waited", 1.0)
        self.version += 1
        after = parts.get("after")
        if after is not None:
            after = json.loads(json.dumps(after))
            after.setdefault("metadata", {})["resourceVersion"] = str(self.version)
        line = {
            "stage": "ResponseComplete",
            "auditID": f"event-{len(self.lines) + 1}",
            "verb": verb,
            "user": {"username": user},
            "objectRef": ref,
            "responseStatus": {"code": parts.get("code", 200), "message": parts.get("said", "")},
            "requestReceivedTimestamp": rfc3339_micro(Instant(self.now - 0.01)),
            "stageTimestamp": rfc3339_micro(Instant(self.now)),
            "requestObject": parts.get("asked"),
            "responseObject": after,
        }
        self.lines.append(json.dumps(line).encode())

    def node(self, after: Object, user: str = IDENTITY, **parts: Any) -> None:
        """A patch of a node."""
        self.write(user, "patch", {"resource": "nodes", "name": after["metadata"]["name"]}, after=after, **parts)

    def pod(self, after: Object, user: str = KWOK, verb: str = "patch", **parts: Any) -> None:
        """A write to a pod."""
        ref = {"resource": "pods", "namespace": "research", "name": after["metadata"]["name"]}
        self.write(user, verb, ref, after=after, **parts)

    def ends(self, pod: Object) -> None:
        """The kubelet says that the pod is gone."""
        gone = json.loads(json.dumps(pod))
        gone["metadata"] |= {"deletionTimestamp": "2027-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0}
        self.pod(gone, verb="delete")

    def evict(self, pod: Object, *, uid: str | None = None, code: int = 201, waited: float = 1.0) -> None:
        """Our eviction of a pod."""
        name = pod["metadata"]["name"]
        ref = {"resource": "pods", "subresource": "eviction", "namespace": "research", "name": name}
        named = {"uid": pod["metadata"]["uid"] if uid is None else uid}
        asked = {"kind": "Eviction", "deleteOptions": {"preconditions": named}}
        self.write(IDENTITY, "create", ref, asked=asked, code=code, waited=waited, after={"kind": "Status"})

    def lease(self, epoch: int) -> None:
        """A term of the Lease."""
        after = {"kind": "Lease", "spec": {"leaseTransitions": epoch}}
        self.write(IDENTITY, "update", {"resource": "leases", "name": "meltguard"}, after=after)

    def deeds(self) -> tuple[Deed, ...]:
        """As the checker reads them."""
        return deeds_of(self.lines)


def evidence(log: Log, nodes: Iterable[Object], pods: Iterable[Object] = ()) -> Evidence:
    """A run that began with these."""
    found: list[Node] = [node_of(node) for node in nodes]
    return Evidence(nodes={node.name: node for node in found}, pods=[pod_of(pod) for pod in pods], deeds=log.deeds())


def a_fleet(count: int = 4) -> list[Object]:
    """Research nodes r1, r2, ..."""
    return [a_node(f"r{number}") for number in range(1, count + 1)]


def lent_taint(pool: str) -> list[Object]:
    """The pool's taint."""
    return [{"key": "workload", "value": pool, "effect": "NoSchedule"}]


OUT = ("Claimed", "Cordoned", "Relabelled", "Lent")
BACK = ("Recalled", "Restored", "Home")


def round_trip(log: Log, steps: tuple[str, ...] = (*OUT, *BACK, "Released")) -> None:
    """A whole, faultless round trip of r1."""
    for step in steps:
        if step == "Released":
            log.node(a_node(annotations={"meltguard.io/epoch": "3"}))
        else:
            log.node(claimed(step, "inference" if step in {"Relabelled", "Lent", "Recalled"} else "research"))
