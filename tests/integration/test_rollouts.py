"""Updates of a Deployment, held and resumed on the real API server; and what our identity may not do to one."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_rollouts import KubernetesRollouts
from meltguard.adapters.scale_shape import WorkloadRef
from meltguard.api.rollout_mark import ROLLOUT_HELD
from meltguard.core.rollout_state import RolloutWrite
from meltguard.core.seen import RolloutMark
from meltguard.core.units import Instant
from meltguard.errors import Conflict, InvalidInput
from meltguard.localcluster.plane import Plane
from support.admission import shield
from support.argo import rollouts_crd
from support.chart import rendered
from support.plane import Kubectl
from support.rest import Answer, Rest

pytestmark = pytest.mark.plane

MARK = RolloutMark(policy="serving/image-gen", policy_uid="uid-1", since=Instant(1_800_000_000.0))
HELD = {"annotations": {ROLLOUT_HELD: "{}"}, "labels": {ROLLOUT_HELD: "true"}}


def a_deployment(name: str, **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"team": "images"}},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x"}]}},
            **spec,
        },
    }


@dataclass(frozen=True)
class Ground:
    """A namespace with Deployments."""

    rollouts: KubernetesRollouts
    kubectl: Kubectl
    namespace: str

    def make(self, body: dict[str, Any]) -> WorkloadRef:
        """Create it."""
        body["metadata"]["namespace"] = self.namespace
        self.kubectl.apply(body)
        return WorkloadRef(
            api_version="apps/v1", kind=body["kind"], name=body["metadata"]["name"], namespace=self.namespace
        )

    def owned(self, workload: WorkloadRef) -> dict[str, Any]:
        """What people wrote of it: the spec, labels and annotations."""
        body = self.kubectl.read("deployment", workload.name, "-n", self.namespace)
        marks = body["metadata"].get("annotations", {})
        marks.pop("deployment.kubernetes.io/revision", None)  # its controller's
        return {"spec": body["spec"], "labels": body["metadata"]["labels"], "annotations": marks}


@pytest.fixture
async def on(plane: Plane, kubectl: Kubectl, namespace: str) -> AsyncIterator[Ground]:
    async with await KubernetesApi.connect(str(plane.kubeconfig)) as api:
        yield Ground(KubernetesRollouts(api), kubectl, namespace)


async def test_it_is_held_with_its_mark_found_again_and_resumed_exactly_as_found(on: Ground) -> None:
    workload = on.make(a_deployment("web"))
    found = on.owned(workload)
    await on.rollouts.write(await on.rollouts.read(workload), RolloutWrite.HOLD, MARK)
    held = await on.rollouts.read(workload)
    assert held.view.paused
    assert held.view.mark == MARK
    assert [one.workload for one in await on.rollouts.held() if one.workload.namespace == on.namespace] == [workload]
    await on.rollouts.write(held, RolloutWrite.RESUME, MARK)
    assert on.owned(workload) == found
    assert not [one for one in await on.rollouts.held() if one.workload.namespace == on.namespace]


async def test_forgetting_leaves_what_a_person_set(on: Ground) -> None:
    workload = on.make(a_deployment("web"))
    await on.rollouts.write(await on.rollouts.read(workload), RolloutWrite.HOLD, MARK)
    on.kubectl("rollout", "resume", "deployment/web", "-n", on.namespace)
    read = await on.rollouts.read(workload)
    assert not read.view.paused
    assert read.view.mark == MARK
    on.kubectl("rollout", "pause", "deployment/web", "-n", on.namespace)
    await on.rollouts.write(await on.rollouts.read(workload), RolloutWrite.FORGET, MARK)
    forgotten = await on.rollouts.read(workload)
    assert forgotten.view.paused
    assert forgotten.view.mark is None


async def test_what_changed_since_it_was_read_is_not_written(on: Ground) -> None:
    workload = on.make(a_deployment("web"))
    read = await on.rollouts.read(workload)
    on.kubectl("rollout", "pause", "deployment/web", "-n", on.namespace)
    with pytest.raises(Conflict):
        await on.rollouts.write(read, RolloutWrite.HOLD, MARK)
    assert (await on.rollouts.read(workload)).view.mark is None


async def test_an_argo_rollout_is_held_and_resumed_like_a_deployment_and_never_tried(on: Ground) -> None:
    assert not [one for one in await on.rollouts.held() if one.workload.kind == "Rollout"]
    on.kubectl.apply(rollouts_crd())
    on.kubectl("wait", "--for=condition=Established", "crd/rollouts.argoproj.io", "--timeout=60s")
    body = a_deployment("web", strategy={"canary": {"steps": [{"setWeight": 20}]}})
    body |= {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"}
    body["metadata"]["namespace"] = on.namespace
    on.kubectl.apply(body)
    workload = WorkloadRef(api_version=body["apiVersion"], kind="Rollout", name="web", namespace=on.namespace)
    status = json.dumps({"status": {"observedGeneration": "1", "replicas": 2, "updatedReplicas": 2}})
    on.kubectl(
        "patch", "rollout.argoproj.io/web", "-n", on.namespace, "--type=merge", "--subresource=status", "-p", status
    )
    read = await on.rollouts.read(workload)
    assert read.view.strategy == ""
    await on.rollouts.write(read, RolloutWrite.HOLD, MARK)
    held = await on.rollouts.read(workload)
    assert (held.view.paused, held.view.mark) == (True, MARK)
    assert workload in [one.workload for one in await on.rollouts.held()]
    await on.rollouts.write(held, RolloutWrite.RESUME, MARK)
    left = on.kubectl.read("rollouts.argoproj.io", "web", "-n", on.namespace)
    assert left["spec"] == body["spec"]
    assert ROLLOUT_HELD not in left["metadata"].get("annotations", {})


async def test_what_cannot_be_held_says_so(on: Ground) -> None:
    set_of_pods = WorkloadRef(api_version="apps/v1", kind="StatefulSet", name="s", namespace=on.namespace)
    with pytest.raises(InvalidInput, match="updates of a StatefulSet cannot be held"):
        await on.rollouts.read(set_of_pods)
    nowhere = WorkloadRef(api_version="apps/v1", kind="Deployment", name="nowhere", namespace=on.namespace)
    with pytest.raises(InvalidInput, match="there is no Deployment"):
        await on.rollouts.read(nowhere)
    body = a_deployment("scribbled")
    body["metadata"] |= {"labels": {ROLLOUT_HELD: "true"}, "annotations": {ROLLOUT_HELD: "scribble"}}
    workload = on.make(body)
    with pytest.raises(InvalidInput, match="cannot be read: remove it"):
        await on.rollouts.read(workload)
    assert not [one for one in await on.rollouts.held() if one.workload.namespace == on.namespace]


@pytest.fixture(scope="module")
def by_operator(lone_plane: Plane, helm: Path) -> Rest:
    """Our identity, with more rights than the chart gives: the admission policy must hold by itself."""
    admin = Rest.of(lone_plane.kubeconfig)
    operator = shield(admin, rendered(helm)).operator
    admin.post("/apis/apps/v1/namespaces/default/deployments", a_deployment("fenced")).must()
    return operator


FENCED = "/apis/apps/v1/namespaces/default/deployments/fenced"
REFUSED: dict[str, dict[str, Any]] = {
    "its image": {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "y"}]}}}},
    "its replicas": {"spec": {"replicas": 3}},
    "its strategy": {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}},
    "another label": {"metadata": {"labels": {"team": "ours"}}},
    "another annotation": {"metadata": {"annotations": {"example.com/x": "y"}}},
    "a finalizer": {"metadata": {"finalizers": ["a.io/b"]}},
    "a hold without its mark": {"spec": {"paused": True}},
}


@pytest.mark.parametrize("patch", REFUSED.values(), ids=REFUSED)
def test_our_identity_may_not_write(by_operator: Rest, patch: dict[str, Any]) -> None:
    answer = by_operator.patch(FENCED, patch, "merge")
    assert not answer.ok
    assert "meltguard-workloads: " in answer.message, answer.message


def test_our_identity_may_hold_and_resume_only_with_the_mark(by_operator: Rest) -> None:
    def write(paused: object, metadata: dict[str, Any]) -> Answer:
        return by_operator.patch(FENCED, {"metadata": metadata, "spec": {"paused": paused}}, "merge")

    held = write(True, HELD).must()
    assert held["spec"]["paused"]
    kept = by_operator.patch(FENCED, {"spec": {"paused": None}}, "merge")
    assert "only together with our mark" in kept.message, json.dumps(kept.body)
    gone = {key: {ROLLOUT_HELD: None} for key in ("annotations", "labels")}
    assert "paused" not in write(None, gone).must()["spec"]
