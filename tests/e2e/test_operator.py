"""The operator as helm installs it, twice, under its own ServiceAccount: every borrowed node finds its way home."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meltguard.clock import SystemClock
from meltguard.localcluster.plane import Plane
from support.admission import until
from support.chart import NAMESPACE, RELEASE
from support.operators import a_gpu_node, freeze, holder, kill, lend, operator_pids, seen, thaw
from support.plane import Kubectl
from support.release import HelmRelease

pytestmark = pytest.mark.plane

SERVING = "serving"
POOL = {"apiVersion": "meltguard.io/v1alpha1", "kind": "GPUPool"}
POOLS = [
    {
        **POOL,
        "metadata": {"name": name},
        "spec": {
            "nodes": {
                "labels": {"workload": name},
                "taints": [{"key": "workload", "value": name, "effect": "NoSchedule"}],
            },
            **lending,
        },
    }
    for name, lending in (
        ("inference", {}),
        (
            "research",
            {
                "lending": {
                    "floor": 1,
                    "maxLoans": 3,
                    "borrowers": {"namespaceSelector": {"matchLabels": {"team": "serving"}}},
                }
            },
        ),
    )
]


def a_policy(name: str, **capacity: Any) -> dict[str, Any]:
    return {
        "apiVersion": "meltguard.io/v1alpha1",
        "kind": "ImageServicePolicy",
        "metadata": {"name": name, "namespace": SERVING},
        "spec": {
            "service": {"selector": {"matchLabels": {"app": name}}},
            "capacity": {"pool": "inference", "borrowFrom": ["research"], "maxLoans": 3, **capacity},
            "tiers": [{"name": "free", "floor": "2%"}],
        },
    }


@pytest.fixture(scope="module")
def release(lone_plane: Plane, helm: Path) -> HelmRelease:
    """The operator, installed on a plane of its own, with two pools and four research nodes."""
    kubectl = Kubectl(lone_plane)
    made = HelmRelease(helm, lone_plane, kubectl)
    made.prepare()
    made.install()
    labels = {"team": "serving"}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SERVING, "labels": labels}})
    kubectl.apply(*POOLS)
    for number in range(1, 5):
        node = a_gpu_node(f"gpu-{number}", "research")
        kubectl("create", "-f", "-", stdin=json.dumps(node))
        kubectl("wait", f"node/gpu-{number}", "--for=condition=Ready", "--timeout=60s")
    return made


@pytest.fixture
def look(release: HelmRelease) -> Callable[[str], tuple[Any, ...]]:
    """What must be as it was once a node is home."""

    def at(node: str) -> tuple[Any, ...]:
        body = release.kubectl.read("node", node)
        return body["metadata"]["labels"], body["spec"].get("taints"), body["spec"].get("unschedulable")

    return at


def lend_now(release: HelmRelease, node: str, policy: tuple[str, str], lasting: float = 3600.0) -> None:
    now = SystemClock().now()
    lend(release.kubectl, node, policy, (now, now + lasting))


def is_home(release: HelmRelease, node: str) -> bool:
    return seen(release.kubectl, node).claim is None


def epoch(release: HelmRelease) -> int:
    return int(release.kubectl.read("lease", RELEASE, "-n", NAMESPACE)["spec"]["leaseTransitions"])


def condition(release: HelmRelease, name: str, kind: str) -> dict[str, Any]:
    status = release.kubectl.read("isp", name, "-n", SERVING).get("status", {})
    return next((one for one in status.get("conditions", []) if one["type"] == kind), {})


def test_a_node_whose_policy_is_gone_comes_home_as_it_was(
    release: HelmRelease, look: Callable[[str], tuple[Any, ...]]
) -> None:
    before = look("gpu-1")
    lend_now(release, "gpu-1", ("serving/gone", "0000-gone"))
    until(lambda: is_home(release, "gpu-1"), 60.0)
    assert look("gpu-1") == before


def test_a_deleted_policy_returns_its_node_before_it_goes(
    release: HelmRelease, look: Callable[[str], tuple[Any, ...]]
) -> None:
    before = look("gpu-2")
    release.kubectl.apply(a_policy("image-gen"))
    until(lambda: bool(condition(release, "image-gen", "Ready")), 60.0)
    uid = release.kubectl.read("isp", "image-gen", "-n", SERVING)["metadata"]["uid"]
    lend_now(release, "gpu-2", ("serving/image-gen", uid))
    until(lambda: condition(release, "image-gen", "CapacityBorrowed").get("status") == "True", 60.0)
    release.kubectl("delete", "isp", "image-gen", "-n", SERVING, "--timeout=90s")
    assert is_home(release, "gpu-2")
    assert look("gpu-2") == before


def test_a_loan_ends_when_it_is_due(release: HelmRelease, look: Callable[[str], tuple[Any, ...]]) -> None:
    before = look("gpu-3")
    release.kubectl.apply(a_policy("due"))
    until(lambda: bool(condition(release, "due", "Ready")), 60.0)
    uid = release.kubectl.read("isp", "due", "-n", SERVING)["metadata"]["uid"]
    lend_now(release, "gpu-3", ("serving/due", uid), lasting=5.0)
    until(lambda: is_home(release, "gpu-3"), 60.0)
    assert look("gpu-3") == before
    release.kubectl("delete", "isp", "due", "-n", SERVING, "--timeout=60s")


WRONG = {
    "a pool that does not exist": ({"borrowFrom": ["nowhere"]}, "PoolMissing", "create it"),
    "a pool that lends nothing": ({"pool": "research", "borrowFrom": ["inference"]}, "PoolDoesNotLend", "owners"),
}


@pytest.mark.parametrize(("capacity", "reason", "step"), WRONG.values(), ids=WRONG)
def test_a_policy_that_cannot_borrow_says_why_and_what_to_do(
    release: HelmRelease, capacity: dict[str, Any], reason: str, step: str
) -> None:
    release.kubectl.apply(a_policy("wrong", **capacity))
    until(lambda: condition(release, "wrong", "Stalled").get("reason") == reason, 60.0)
    assert step in condition(release, "wrong", "Stalled")["message"]
    assert condition(release, "wrong", "Ready")["status"] == "False"
    release.kubectl("delete", "isp", "wrong", "-n", SERVING, "--timeout=60s")


def pool_condition(release: HelmRelease, name: str, kind: str) -> dict[str, Any]:
    status = release.kubectl.read("gpool", name).get("status", {})
    return next((one for one in status.get("conditions", []) if one["type"] == kind), {})


def test_pools_that_overlap_say_so_on_both_and_lend_nothing(release: HelmRelease) -> None:
    both = {**POOL, "metadata": {"name": "rack"}, "spec": {"nodes": {"labels": {"rack": "r1"}}}}
    release.kubectl.apply(both, a_policy("overlap"))
    for name in ("rack", "research"):
        until(lambda pool=name: pool_condition(release, pool, "Ready").get("reason") == "PoolsOverlap", 60.0)
    until(lambda: condition(release, "overlap", "Stalled").get("reason") == "PoolsOverlap", 60.0)
    assert "gpu-1" in condition(release, "overlap", "Stalled")["message"]
    release.kubectl("delete", "gpool", "rack", "--timeout=60s")
    until(lambda: condition(release, "overlap", "Stalled").get("status") == "False", 60.0)
    release.kubectl("delete", "isp", "overlap", "-n", SERVING, "--timeout=60s")


def test_a_frozen_leader_that_thaws_changes_nothing(
    release: HelmRelease, look: Callable[[str], tuple[Any, ...]]
) -> None:
    before, term = look("gpu-3"), epoch(release)
    old = holder(release.kubectl, NAMESPACE, release.plane.directory)
    freeze(old)
    try:
        until(lambda: epoch(release) > term, 60.0)
        lend_now(release, "gpu-3", ("serving/gone", "0000-gone"))
    finally:
        thaw(old)
    until(lambda: is_home(release, "gpu-3"), 60.0)
    assert look("gpu-3") == before
    until(lambda: old not in operator_pids(release.plane.directory).values(), 60.0)  # it has left, to start again
    node = release.kubectl.read("node", "gpu-3")
    assert int(node["metadata"]["annotations"]["meltguard.io/epoch"]) > term


def test_a_killed_holder_is_followed_by_another_term_that_goes_on(
    release: HelmRelease, look: Callable[[str], tuple[Any, ...]]
) -> None:
    before, term = look("gpu-4"), epoch(release)
    until(lambda: len(operator_pids(release.plane.directory)) == 2, 60.0)  # one that lost its Lease starts again
    for pid in operator_pids(release.plane.directory).values():
        kill(pid)
    lend_now(release, "gpu-4", ("serving/gone", "0000-gone"))
    until(lambda: is_home(release, "gpu-4"), 90.0)
    assert epoch(release) > term
    assert look("gpu-4") == before


def test_uninstalling_brings_lent_nodes_home_first(
    release: HelmRelease, look: Callable[[str], tuple[Any, ...]]
) -> None:
    before = look("gpu-1")
    release.kubectl.apply(a_policy("last"))
    until(lambda: bool(condition(release, "last", "Ready")), 60.0)
    uid = release.kubectl.read("isp", "last", "-n", SERVING)["metadata"]["uid"]
    lend_now(release, "gpu-1", ("serving/last", uid))
    release.uninstall()
    assert is_home(release, "gpu-1")
    assert look("gpu-1") == before
    assert not release.kubectl.read("isp", "last", "-n", SERVING)["metadata"].get("finalizers")
