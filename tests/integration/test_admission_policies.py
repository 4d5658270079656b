"""What our identity may do beyond RBAC, tried on the real API server with its real token."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meltguard.localcluster.plane import Plane
from support.admission import (
    EPOCH,
    LEASE,
    SPACE,
    Op,
    Shielded,
    a_config_map,
    a_node,
    an_override,
    no_note,
    note,
    now,
    put,
    set_epoch,
    set_label,
    shield,
    under,
    until,
)
from support.chart import NAMESPACE, RELEASE, rendered
from support.node_writes import CLAIM, NODE_ALLOWED, NODE_DENIED
from support.rest import Answer, Rest

pytestmark = pytest.mark.plane

MAPS = f"/api/v1/namespaces/{SPACE}/configmaps"


@pytest.fixture(scope="module")
def shielded(lone_plane: Plane, helm: Path) -> Shielded:
    chart = rendered(helm, "--set", "nodeLabelKeys={workload}")
    return shield(Rest.of(lone_plane.kubeconfig), chart)


def refused(answer: Answer, topic: str) -> None:
    """By that policy, not by RBAC or a schema."""
    assert not answer.ok, "the API server let it pass"
    assert f"{topic}: " in answer.message


def identity(shielded: Shielded, who: str, node: str) -> Rest:
    return shielded.kubelet(node) if who == "kubelet" else getattr(shielded, who)


@pytest.mark.parametrize(("topic", "who", "before", "write"), NODE_DENIED.values(), ids=NODE_DENIED)
def test_a_node_write_is_refused(shielded: Shielded, topic: str, who: str, before: list[Op], write: list[Op]) -> None:
    node = shielded.node(*before)
    refused(identity(shielded, who, node).patch(f"/api/v1/nodes/{node}", write), topic)


@pytest.mark.parametrize(("who", "before", "write"), NODE_ALLOWED.values(), ids=NODE_ALLOWED)
def test_a_node_write_passes(shielded: Shielded, who: str, before: list[Op], write: list[Op]) -> None:
    node = shielded.node(*before)
    identity(shielded, who, node).patch(f"/api/v1/nodes/{node}", write).must()


def forged_node(name: str, **annotations: str) -> dict[str, Any]:
    node = a_node(name)
    node["metadata"]["annotations"] = {text.replace("_", "/"): value for text, value in annotations.items()}
    return node


OTHER_DENIED: dict[str, tuple[str, Callable[[Shielded], Answer]]] = {
    "a node's capacity through its status": (
        "meltguard-node-scope",
        lambda s: s.operator.patch(
            f"/api/v1/nodes/{s.node()}/status", now(put("/status/capacity", {"nvidia.com~1gpu": "64"}))
        ),
    ),
    "an older epoch through the status": (
        "meltguard-fence",
        lambda s: s.operator.patch(f"/api/v1/nodes/{s.node()}/status", under(EPOCH - 1, CLAIM)),
    ),
    "creating a node": (
        "meltguard-node-scope",
        lambda s: s.operator.post("/api/v1/nodes", forged_node("made", **{"meltguard.io_epoch": str(EPOCH)})),
    ),
    "deleting a node": ("meltguard-node-scope", lambda s: s.operator.delete(f"/api/v1/nodes/{s.node()}")),
    "a kubelet's claim through the status": (
        "meltguard-claims",
        lambda s: s.kubelet(node := s.node()).patch(f"/api/v1/nodes/{node}/status", [CLAIM]),
    ),
    "a kubelet registering with a claim": (
        "meltguard-claims",
        lambda s: s.kubelet("forged").post("/api/v1/nodes", forged_node("forged", **{"meltguard.io_loan": "{}"})),
    ),
    "a pod's label": ("meltguard-pods", lambda s: s.operator.patch(s.pod(), [set_label("app", "x")])),
    "a pod's other annotation": (
        "meltguard-pods",
        lambda s: s.operator.patch(s.pod(), [note("example.com/run", "13")]),
    ),
    "removing a pod's other annotation": (
        "meltguard-pods",
        lambda s: s.operator.patch(s.pod(), [no_note("example.com/run")]),
    ),
    "the workload's word that its work is saved": (
        "meltguard-pods",
        lambda s: s.operator.patch(s.pod(), [note("meltguard.io/checkpoint-saved-at", "2026-11-23T10:00:41Z")]),
    ),
    "the workload's wish to stay": (
        "meltguard-pods",
        lambda s: s.operator.patch(s.pod(), [note("meltguard.io/do-not-evict", "false")]),
    ),
    "a pod's image": (
        "meltguard-pods",
        lambda s: s.operator.patch(s.pod(), [put("/spec/containers/0/image", "train:2")]),
    ),
    "a pod's deadline": (
        "meltguard-pods",
        lambda s: s.operator.patch(s.pod(), [put("/spec/activeDeadlineSeconds", 1)]),
    ),
    "a pod's finalizer": (
        "meltguard-pods",
        lambda s: s.operator.patch(s.pod(), [put("/metadata/finalizers", ["a.io/b"])]),
    ),
    "a pod's status": (
        "meltguard-pods",
        lambda s: s.operator.patch(f"{s.pod()}/status", [put("/status/phase", "Failed")]),
    ),
    "a ConfigMap of another name": (
        "meltguard-configmaps",
        lambda s: s.operator.post(MAPS, a_config_map("app-config")),
    ),
    "a ConfigMap with a generated name": (
        "meltguard-configmaps",
        lambda s: s.operator.post(
            MAPS, {**a_config_map(""), "metadata": {"generateName": "image-gen-meltguard-baseline-"}}
        ),
    ),
    "the agents' keys in another namespace": (
        "meltguard-configmaps",
        lambda s: s.operator.post(MAPS, a_config_map(f"{RELEASE}-agent-keys")),
    ),
    "another ConfigMap beside itself": (
        "meltguard-configmaps",
        lambda s: s.operator.post(f"/api/v1/namespaces/{NAMESPACE}/configmaps", a_config_map("kube-root-ca.crt-x")),
    ),
}


@pytest.mark.parametrize(("topic", "attempt"), OTHER_DENIED.values(), ids=OTHER_DENIED)
def test_an_attempt_is_refused(shielded: Shielded, topic: str, attempt: Callable[[Shielded], Answer]) -> None:
    refused(attempt(shielded), topic)


def test_somebody_elses_config_map_stays_as_it_is(shielded: Shielded) -> None:
    shielded.admin.post(MAPS, a_config_map("theirs")).must()
    refused(shielded.operator.patch(f"{MAPS}/theirs", [put("/data/document", "x")]), "meltguard-configmaps")


def test_nobody_signs_an_override_with_another_name(shielded: Shielded) -> None:
    refused(shielded.policy(an_override(by="ann"), who="bob"), "meltguard-overrides")
    made = shielded.policy(an_override(by="ann"), who="ann").must()
    path = f"/apis/meltguard.io/v1alpha1/namespaces/{SPACE}/imageservicepolicies/{made['metadata']['name']}"
    bob = shielded.person("bob")
    refused(bob.patch(path, [put("/spec/overrides/0/reason", "another reason")]), "meltguard-overrides")
    refused(bob.patch(path, [put("/spec/overrides/-", an_override(tier="pro", by="ann"))]), "meltguard-overrides")
    bob.patch(path, [put("/spec/mode", "Shadow")]).must()
    bob.patch(path, [put("/spec/overrides/-", an_override(tier="plus", by="bob"))]).must()
    bob.patch(path, [put("/spec/overrides/-", an_override(tier="pro"))]).must()
    bob.patch(path, [{"op": "remove", "path": "/spec/overrides/0"}]).must()


@pytest.fixture
def no_lease(shielded: Shielded) -> Iterator[None]:
    """The Lease is gone, and the API server knows it: an epoch that it would not allow passes."""
    shielded.admin.delete(f"{LEASE}/{RELEASE}").must()
    until(lambda: shielded.operator.patch(f"/api/v1/nodes/{shielded.node()}", under(EPOCH + 1)).ok)
    yield
    set_epoch(shielded.admin, EPOCH)
    until(lambda: not shielded.operator.patch(f"/api/v1/nodes/{shielded.node()}", under(EPOCH + 1)).ok)


@pytest.mark.usefixtures("no_lease")
def test_without_a_lease_a_node_still_refuses_an_older_epoch(shielded: Shielded) -> None:
    node = shielded.node(*now())
    refused(shielded.operator.patch(f"/api/v1/nodes/{node}", under(EPOCH - 1, CLAIM)), "meltguard-fence")
    refused(shielded.operator.patch(f"/api/v1/nodes/{shielded.node()}", [CLAIM]), "meltguard-fence")


@pytest.mark.usefixtures("no_lease")
def test_without_a_lease_everybody_else_works_on(shielded: Shielded) -> None:
    node = shielded.node(*now(CLAIM))
    heartbeat = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    shielded.kubelet(node).patch(f"/api/v1/nodes/{node}/status", heartbeat, "merge").must()
    shielded.people.patch(f"/api/v1/nodes/{node}", [set_label("team", "audio")]).must()


OTHER_ALLOWED: dict[str, Callable[[Shielded], Answer]] = {
    "a notice on a pod": lambda s: s.operator.patch(
        s.pod(),
        [
            note("meltguard.io/notice", "move-1"),
            note("meltguard.io/checkpoint-asked-at", "2026-11-23T10:00:00Z"),
            note("meltguard.io/evict-after", "2026-11-23T10:02:00Z"),
        ],
    ),
    "what a pod's deletion costs": lambda s: s.operator.patch(
        s.pod(), [note("controller.kubernetes.io/pod-deletion-cost", "-100")]
    ),
    "evicting a pod": lambda s: s.operator.post(
        f"{(pod := s.pod())}/eviction",
        {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.rsplit("/", 1)[1], "namespace": SPACE},
        },
    ),
    "a new baseline": lambda s: s.operator.post(MAPS, a_config_map("image-gen-meltguard-baseline")),
    "a changed baseline": lambda s: s.operator.patch(
        f"{MAPS}/second-meltguard-baseline?fieldManager=meltguard", a_config_map("second-meltguard-baseline"), "apply"
    ),
    "the agents' keys": lambda s: s.operator.patch(
        f"/api/v1/namespaces/{NAMESPACE}/configmaps/{RELEASE}-agent-keys?fieldManager=meltguard",
        a_config_map(f"{RELEASE}-agent-keys"),
        "apply",
    ),
    "a kubelet's heartbeat on a claimed node": lambda s: s.kubelet(node := s.node(*now(CLAIM))).patch(
        f"/api/v1/nodes/{node}/status", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, "merge"
    ),
    "a kubelet registering into its pool": lambda s: s.kubelet("fresh").post("/api/v1/nodes", forged_node("fresh")),
}


@pytest.mark.parametrize("attempt", OTHER_ALLOWED.values(), ids=OTHER_ALLOWED)
def test_an_attempt_passes(shielded: Shielded, attempt: Callable[[Shielded], Answer]) -> None:
    attempt(shielded).must()


def test_a_node_as_large_as_they_get_stays_within_the_cost_limits(shielded: Shielded) -> None:
    many = [set_label(f"example.com/l{i}", str(i)) for i in range(300)]
    many += [note(f"example.com/a{i}", "x" * 600) for i in range(300)]
    node = shielded.node(*many)
    images = [{"names": [f"registry.example.com/image-{i}@sha256:{i:064}"], "sizeBytes": i} for i in range(50)]
    shielded.admin.patch(f"/api/v1/nodes/{node}/status", [put("/status/images", images)]).must()
    write = now(CLAIM, set_label("workload", "serving"), put("/spec/unschedulable", True))
    shielded.operator.patch(f"/api/v1/nodes/{node}", write).must()


def test_the_api_server_finds_no_wrong_type_in_an_expression(shielded: Shielded) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"

    def statuses() -> dict[str, Any]:
        items = shielded.admin.get(path).must()["items"]
        return {item["metadata"]["name"]: item.get("status", {}) for item in items}

    until(lambda: all("observedGeneration" in status for status in statuses().values()))
    assert len(statuses()) == 8
    assert not {name: status["typeChecking"] for name, status in statuses().items() if status.get("typeChecking")}
