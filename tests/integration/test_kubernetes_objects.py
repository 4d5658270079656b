"""The operator's small writes, on the real API server."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest

from meltguard.adapters.event_shape import EventRecord, EventType, ObjectRef
from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind
from meltguard.adapters.kubernetes_errors import Missing
from meltguard.adapters.kubernetes_objects import KubernetesObjects
from meltguard.adapters.pod_shape import read_pod
from meltguard.adapters.scale_shape import Scale, WorkloadRef
from meltguard.clock import SystemClock
from meltguard.core.fleet import PodView
from meltguard.core.units import PodUid
from meltguard.errors import Conflict, InvalidInput, Unavailable
from meltguard.localcluster.plane import Plane
from support.eventually import soon
from support.plane import Kubectl

pytestmark = pytest.mark.plane

CONTAINERS = [{"name": "c", "image": "x"}]


@dataclass(frozen=True)
class Ground:
    """A namespace on the plane."""

    api: KubernetesApi
    objects: KubernetesObjects
    kubectl: Kubectl
    namespace: str

    def read(self, *arguments: str) -> Any:
        """Read from the namespace."""
        return self.kubectl.read("-n", self.namespace, *arguments)

    def apply(self, body: dict[str, Any], name: str) -> None:
        """Create or change an object of the namespace."""
        metadata = {**body.get("metadata", {}), "name": name, "namespace": self.namespace}
        self.kubectl.apply({**body, "metadata": metadata})

    async def pod(self, name: str) -> PodView:
        """A pod, just read."""
        body = await self.api.get(f"/api/v1/namespaces/{self.namespace}/pods/{name}")
        assert body is not None
        return read_pod(body)

    async def evicts(self, name: str) -> None:
        """Evict a pod as it is; who writes it in the meantime, as its kubelet may, has it read again."""
        async with soon():
            while True:
                with suppress(Conflict):
                    return await self.objects.evict(await self.pod(name))


@pytest.fixture
async def on(plane: Plane, kubectl: Kubectl, namespace: str) -> AsyncIterator[Ground]:
    async with await KubernetesApi.connect(str(plane.kubeconfig)) as api:
        yield Ground(api, KubernetesObjects(api, SystemClock()), kubectl, namespace)


@pytest.fixture
async def pod(on: Ground, fake_node: Callable[..., str]) -> PodView:
    """A running pod on a fake node, of an app that budgets may protect."""
    node = fake_node(f"{on.namespace}-n")
    spec = {"containers": CONTAINERS, "nodeName": node, "terminationGracePeriodSeconds": 1}
    on.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"app": "x"}}, "spec": spec}, "p")
    on.kubectl("-n", on.namespace, "wait", "pod/p", "--for=condition=Ready", "--timeout=60s")
    return await on.pod("p")


def a_budget(on: Ground, name: str) -> None:
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}
    on.apply({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": spec}, name)
    wait = ("wait", f"pdb/{name}", "--for=jsonpath={.status.currentHealthy}=1", "--timeout=60s")
    on.kubectl("-n", on.namespace, *wait)


async def test_an_event_is_posted_once_and_then_counted(on: Ground, pod: PodView) -> None:
    about = ObjectRef(api_version="v1", kind="Pod", name=pod.name, uid=pod.uid, namespace=on.namespace)
    record = EventRecord(
        regarding=about, reason="LimitLowered", message="free: 3/m", action="Limit", type=EventType.WARNING
    )
    posted = await on.objects.post_event(record)
    for _ in range(2):
        posted = await on.objects.post_event(record, posted)
    assert posted.count == 3
    events = [one for one in on.read("events.events.k8s.io")["items"] if one["reason"] == "LimitLowered"]
    (event,) = events
    assert (event["note"], event["type"], event["series"]["count"]) == ("free: 3/m", "Warning", 3)
    assert event["regarding"]["name"] == "p"
    assert "LimitLowered" in on.kubectl("-n", on.namespace, "describe", "pod", "p")


async def test_an_event_that_has_expired_is_posted_anew(on: Ground, pod: PodView) -> None:
    about = ObjectRef(api_version="v1", kind="Pod", name=pod.name, uid=pod.uid, namespace=on.namespace)
    record = EventRecord(regarding=about, reason="LimitLowered", message="m", action="Limit")
    posted = await on.objects.post_event(record)
    on.kubectl("-n", on.namespace, "delete", "events.events.k8s.io", posted.name)
    again = await on.objects.post_event(record, posted)
    assert again.count == 1
    assert again.name != posted.name


async def test_an_event_about_a_node_is_found_by_who_describes_it(on: Ground, pod: PodView) -> None:
    uid = on.kubectl("get", "node", pod.node, "-o", "jsonpath={.metadata.uid}")
    about = ObjectRef(api_version="v1", kind="Node", name=pod.node, uid=uid)
    await on.objects.post_event(EventRecord(regarding=about, reason="NodeBorrowed", message="lent", action="Borrow"))
    assert "NodeBorrowed" in on.kubectl("describe", "node", pod.node)


async def test_a_config_map_is_made_mended_and_owned(on: Ground, pod: PodView) -> None:
    owner = ObjectRef(api_version="v1", kind="Pod", name=pod.name, uid=pod.uid, namespace=on.namespace)
    await on.objects.apply_config_map(on.namespace, "baseline", {"a": "1", "b": "2"}, owner)
    on.kubectl("-n", on.namespace, "patch", "configmap", "baseline", "-p", '{"data": {"a": "tampered", "theirs": "x"}}')
    await on.objects.apply_config_map(on.namespace, "baseline", {"a": "3"}, owner)
    found = on.read("configmap", "baseline")
    assert found["data"] == {"a": "3", "theirs": "x"}
    assert found["metadata"]["ownerReferences"][0]["uid"] == pod.uid


async def test_a_config_map_that_no_server_would_take_is_not_sent(on: Ground, pod: PodView) -> None:
    owner = ObjectRef(api_version="v1", kind="Pod", name=pod.name, uid=pod.uid, namespace=on.namespace)
    with pytest.raises(InvalidInput, match="at most"):
        await on.objects.apply_config_map(on.namespace, "huge", {"a": "x" * 1_000_000}, owner)


def a_workload(on: Ground, kind: str, name: str, replicas: int) -> WorkloadRef:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": CONTAINERS}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    on.apply({"apiVersion": "apps/v1", "kind": kind, "spec": spec}, name)
    return WorkloadRef(api_version="apps/v1", kind=kind, name=name, namespace=on.namespace)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "ReplicaSet"])
async def test_replicas_are_set_if_nobody_set_them_meanwhile(on: Ground, kind: str) -> None:
    workload = a_workload(on, kind, "w", 0)
    scale = await on.objects.read_scale(workload)
    assert scale is not None
    assert (scale.wanted, scale.selector) == (0, "app=w")
    on.kubectl("-n", on.namespace, "annotate", kind, "w", "touched=yes")
    await on.objects.set_replicas(workload, 2, scale)
    assert on.read(kind, "w")["spec"]["replicas"] == 2
    with pytest.raises(Conflict):
        await on.objects.set_replicas(workload, 3, scale)
    now = await on.objects.read_scale(workload)
    assert now is not None
    on.kubectl("-n", on.namespace, "scale", kind, "w", "--replicas=5")
    with pytest.raises(Conflict):
        await on.objects.set_replicas(workload, 1, now)
    assert on.read(kind, "w")["spec"]["replicas"] == 5


async def test_a_workload_that_is_not_there_has_no_scale(on: Ground) -> None:
    workload = WorkloadRef(api_version="apps/v1", kind="Deployment", name="none", namespace=on.namespace)
    assert await on.objects.read_scale(workload) is None
    with pytest.raises(Missing):
        await on.objects.set_replicas(workload, 1, Scale(wanted=0, present=0, selector=""))


@pytest.mark.parametrize("kind", ["DaemonSet", "Deploymint"])
async def test_a_kind_that_does_not_scale_is_our_users_mistake(on: Ground, kind: str) -> None:
    workload = WorkloadRef(api_version="apps/v1", kind=kind, name="w", namespace=on.namespace)
    with pytest.raises(InvalidInput, match="cannot be scaled"):
        await on.objects.read_scale(workload)


async def test_a_status_is_merged(on: Ground) -> None:
    workload = a_workload(on, "Deployment", "w", 0)
    path = f"/apis/apps/v1/namespaces/{on.namespace}/deployments/{workload.name}"
    await on.objects.patch_status(path, {"collisionCount": 7})
    assert on.read("deployment", "w")["status"]["collisionCount"] == 7
    with pytest.raises(Missing):
        await on.objects.patch_status(f"{path}-none", {"collisionCount": 7})


async def test_a_pod_leaves_by_eviction_and_being_gone_is_no_error(on: Ground, pod: PodView) -> None:
    await on.evicts("p")
    on.kubectl("-n", on.namespace, "wait", "pod/p", "--for=delete", "--timeout=60s")
    await on.objects.evict(pod)


async def test_only_the_pod_that_was_read_is_evicted(on: Ground, pod: PodView) -> None:
    with pytest.raises(Conflict):
        await on.objects.evict(replace(pod, uid=PodUid("another")))
    on.kubectl("-n", on.namespace, "annotate", "pod", "p", "changed=yes")
    with pytest.raises(Conflict):
        await on.objects.evict(pod)
    assert not (await on.pod("p")).terminating


async def test_a_budget_that_forbids_it_is_named(on: Ground, pod: PodView) -> None:
    a_budget(on, "guard")
    with pytest.raises(Unavailable, match="budget guard needs 1 healthy") as forbidden:
        await on.evicts(pod.name)
    assert forbidden.value.retry_after > 0
    assert not (await on.pod("p")).terminating


async def test_two_budgets_are_told_as_the_server_tells_it(on: Ground, pod: PodView) -> None:
    a_budget(on, "one")
    a_budget(on, "two")
    with pytest.raises(Unavailable, match="more than one PodDisruptionBudget"):
        await on.evicts(pod.name)


async def test_a_notice_goes_to_exactly_this_pod(on: Ground, pod: PodView) -> None:
    await on.objects.annotate_pod(pod, {"meltguard.io/notice": "soon", "other": "x"})
    await on.objects.annotate_pod(pod, {"other": None})
    assert on.read("pod", "p")["metadata"]["annotations"]["meltguard.io/notice"] == "soon"
    assert "other" not in on.read("pod", "p")["metadata"]["annotations"]
    with pytest.raises(Conflict):
        await on.objects.annotate_pod(replace(pod, uid=PodUid("another")), {"meltguard.io/notice": "soon"})


async def test_a_patch_whose_test_fails_is_a_conflict_and_a_wrong_one_is_a_mistake(on: Ground, pod: PodView) -> None:
    path = f"/api/v1/nodes/{pod.node}"
    test = [{"op": "test", "path": "/metadata/uid", "value": "another"}]
    with pytest.raises(Conflict):
        await on.api.patch(path, json.dumps(test).encode())
    with pytest.raises(Missing):
        await on.api.patch(f"{path}-none", json.dumps(test).encode())
    with pytest.raises(InvalidInput, match="a valid label"):
        await on.api.patch(path, b'{"metadata": {"labels": {"a": "not valid!"}}}', PatchKind.MERGE)
    with pytest.raises(Unavailable, match="does not serve this resource"):
        await on.api.get("/apis/nobody.example/v1/things")
