"""A cluster under the chart's admission policies: our two identities, others, and objects to try them on."""

import functools
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from support.chart import NAMESPACE, RELEASE, Manifest, apply, of_kind
from support.objects import a_policy_object
from support.rest import Answer, Rest

CRDS = Path(__file__).parents[2] / "crds"
EPOCH = 7
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
LOAN = "meltguard.io/loan"
EPOCH_KEY = "meltguard.io/epoch"
SPACE = "admission"
"""The namespace of the pods and ConfigMaps that are tried on."""

Op = dict[str, Any]
Ops = list[Op]
KINDS = (
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)


def key(name: str) -> str:
    """A label's or annotation's name in a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def set_label(name: str, value: str) -> Op:
    return {"op": "add", "path": f"/metadata/labels/{key(name)}", "value": value}


def no_label(name: str) -> Op:
    return {"op": "remove", "path": f"/metadata/labels/{key(name)}"}


def note(name: str, value: str) -> Op:
    return {"op": "add", "path": f"/metadata/annotations/{key(name)}", "value": value}


def no_note(name: str) -> Op:
    return {"op": "remove", "path": f"/metadata/annotations/{key(name)}"}


def put(path: str, value: object) -> Op:
    return {"op": "add", "path": path, "value": value}


def under(epoch: int, *ops: Op) -> Ops:
    """A node write as the operator makes it."""
    return [*ops, note(EPOCH_KEY, str(epoch))]


def now(*ops: Op) -> Ops:
    """The same, under the Lease's own epoch."""
    return under(EPOCH, *ops)


def a_node(name: str) -> Manifest:
    """A managed research node."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"workload": "research", "meltguard.io/managed": "true", "team": "vision"},
            # a controller of the control plane writes ttl at a moment of its own: it is there from the start
            "annotations": {"example.com/rack": "r7", "node.alpha.kubernetes.io/ttl": "0"},
        },
        "spec": {
            "taints": [
                {"key": "workload", "value": "research", "effect": "NoSchedule"},
                {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"},
            ]
        },
    }


def a_pod(name: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "train"}, "annotations": {"example.com/run": "12"}},
        "spec": {
            "automountServiceAccountToken": False,
            "schedulerName": "nobody",
            "containers": [{"name": "main", "image": "train:1"}],
        },
    }


def an_override(**changes: str) -> Manifest:
    return {"tier": "free", "state": "Suspend", "until": "2099-01-01T00:00:00Z", "reason": "launch day", **changes}


def a_config_map(name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"document": "{}"}}


@dataclass(frozen=True, slots=True)
class Shielded:
    """The API server with the policies in force."""

    admin: Rest
    operator: Rest
    release: Rest
    people: Rest  # may write nodes, has no break-glass role
    rescuer: Rest  # the same with the break-glass role
    names: Iterator[int] = field(default_factory=itertools.count)

    def kubelet(self, node: str) -> Rest:
        """The node's own credential."""
        return self.admin.as_user(f"system:node:{node}", "system:nodes", "system:authenticated")

    def node(self, *prepared: Op) -> str:
        """A new node, changed by its administrator; its name."""
        name = f"admission-{next(self.names)}"
        self.admin.post("/api/v1/nodes", a_node(name)).must()
        if prepared:
            self.admin.patch(f"/api/v1/nodes/{name}", list(prepared)).must()
        return name

    def pod(self) -> str:
        """A new pod that nobody schedules; its path."""
        pods = f"/api/v1/namespaces/{SPACE}/pods"
        name = f"pod-{next(self.names)}"
        self.admin.post(pods, a_pod(name)).must()
        return f"{pods}/{name}"

    def policy(self, *overrides: Manifest, who: str = "ann", **forged: str) -> Answer:
        """A policy with overrides, written anew by somebody; `forged` changes a first one."""
        policies = f"/apis/meltguard.io/v1alpha1/namespaces/{SPACE}/imageservicepolicies"
        words = list(overrides) or [an_override(**forged)]
        body = a_policy_object(f"policy-{next(self.names)}", SPACE, overrides=words)
        return self.person(who).post(policies, body)

    def person(self, name: str) -> Rest:
        """Somebody who may write policies."""
        return self.admin.as_user(name, "system:masters", "system:authenticated")

    def workload(self) -> str:
        """A new Deployment without pods; its path."""
        deployments = f"/apis/apps/v1/namespaces/{SPACE}/deployments"
        name = f"workload-{next(self.names)}"
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "c"}]}}
        body = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "labels": labels},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
        }
        self.admin.post(deployments, body).must()
        return f"{deployments}/{name}"


def shield(admin: Rest, chart: list[Manifest]) -> Shielded:
    """Apply the chart's rights and policies, and more rights than those: the policies must hold by themselves."""
    for space in (NAMESPACE, SPACE):
        apply(admin, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": space}}
        apply(admin, account)
    for path in sorted(CRDS.glob("*.yaml")):
        apply(admin, yaml.safe_load(path.read_text()))
    for manifest in (document for kind in KINDS for document in of_kind(chart, kind)):
        apply(admin, manifest)
    for manifest in _too_many_rights():
        apply(admin, manifest)
    set_epoch(admin, EPOCH)
    shielded = Shielded(
        admin=admin,
        operator=admin.as_service_account(NAMESPACE, RELEASE),
        release=admin.as_service_account(NAMESPACE, f"{RELEASE}-release"),
        people=admin.as_user("pat", "platform", "system:authenticated"),
        rescuer=admin.as_user("rita", "platform", "rescuers", "system:authenticated"),
    )
    _await_policies(shielded)
    return shielded


def set_epoch(admin: Rest, epoch: int) -> None:
    """Make the Lease say this epoch."""
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": RELEASE, "namespace": NAMESPACE},
        "spec": {"holderIdentity": "meltguard-a", "leaseTransitions": epoch},
    }
    admin.patch(f"{LEASE}/{RELEASE}?fieldManager=tests&force=true", lease, kind="apply").must()


def until(holds: Callable[[], bool], limit: float = 60.0) -> None:
    """Await what an API server's caches are still to learn."""
    end = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < end, f"not within {limit} s"
        time.sleep(0.1)


def _too_many_rights() -> list[Manifest]:
    group = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [""], "resources": ["nodes", "nodes/status"], "verbs": ["get", "create", "patch", "delete"]},
        {"apiGroups": [""], "resources": ["pods/status", "pods/ephemeralcontainers"], "verbs": ["patch"]},
    ]
    roles = [{"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": "too-many"}, "rules": rules}]
    accounts = [
        {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE} for name in (RELEASE, f"{RELEASE}-release")
    ]
    people = [{"apiGroup": group, "kind": "Group", "name": "platform"}]
    rescuers = [{"apiGroup": group, "kind": "Group", "name": "rescuers"}]
    return [
        *roles,
        _binding("too-many", "too-many", [*accounts, *people]),
        _binding("rescuers", f"{RELEASE}-release", rescuers),
    ]


def _binding(name: str, role: str, subjects: list[dict[str, str]]) -> Manifest:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": subjects,
    }


def _numbered(names: Iterator[int]) -> str:
    return f"n{next(names)}"


def _await_policies(shielded: Shielded) -> None:
    """A policy takes effect a moment after it is written; ask each until it refuses what it must.

    Each attempt writes something new: one that came too early and passed would else be repeated without any change.
    """
    node, pod, workload = shielded.node(), shielded.pod(), shielded.workload()
    new = functools.partial(_numbered, shielded.names)
    maps = f"/api/v1/namespaces/{SPACE}/configmaps"
    probes: dict[str, Callable[[], Answer]] = {
        "meltguard-fence": lambda: shielded.operator.patch(f"/api/v1/nodes/{node}", under(EPOCH - 1)),
        "meltguard-node-scope": lambda: shielded.operator.patch(f"/api/v1/nodes/{node}", now(set_label("a", new()))),
        "meltguard-claims": lambda: shielded.people.patch(f"/api/v1/nodes/{node}", [note(LOAN, f'{{"n": "{new()}"}}')]),
        "meltguard-pods": lambda: shielded.operator.patch(pod, [set_label("a", new())]),
        "meltguard-workloads": lambda: shielded.operator.patch(workload, [set_label("a", new())]),
        "meltguard-overrides": lambda: shielded.policy(by=new()),
        "meltguard-configmaps": lambda: shielded.operator.post(f"{maps}?dryRun=All", a_config_map("other")),
    }
    for topic, probe in probes.items():
        until(lambda topic=topic, probe=probe: f"{topic}: " in probe().message)  # type: ignore[misc] # bound now
    # A probe that came too early left its mark; the epoch must also be what the server's cache says.
    until(lambda: shielded.operator.patch(f"/api/v1/nodes/{shielded.node()}", now()).ok)
